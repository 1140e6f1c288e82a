"""The stages of training."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import pytorch_msssim
import skimage.data
import torch
from click.testing import CliRunner
from PIL import Image
from rich.console import Console

from rnnconv_codec.cli import train as cli_train
from rnnconv_codec.cli.group import cli
from rnnconv_codec.codec import Codec
from rnnconv_codec.container import inspect
from rnnconv_codec.errors import TrainingError
from rnnconv_codec.networks.config import CompactConfig, ContextModelConfig, TodericiConfig
from rnnconv_codec.training import config as training_config
from rnnconv_codec.training.config import TrainingConfig, from_settings, to_settings
from rnnconv_codec.training.export import export_weights
from rnnconv_codec.training.graft import choose_codes, pair_channels
from rnnconv_codec.training.images import (
    CropSampler,
    TrainingImage,
    high_entropy_tiles,
    load_image,
    load_images,
    to_tensor,
)
from rnnconv_codec.training.model import MS_SSIM_SCALE, Coded, distortions
from rnnconv_codec.training.session import RunFolder, Stretch, validation_batch
from rnnconv_codec.training.stages import STAGE_FUNCTIONS
from rnnconv_codec.training.trainer import Limits, Schedule, load_state, save_state

TINY = CompactConfig(
    iterations=3,
    analysis_channels=16,
    coarse_inputs=4,
    coarse_codes=16,
    fine_codes=8,
    coarse_decoder_channels=18,
    fine_decoder_channels=18,
    context=ContextModelConfig(hidden_channels=8, groups=4),
)
TINY_TODERICI = TodericiConfig(
    iterations=2,
    stem_channels=4,
    encoder_channels=(8, 8, 8),
    codes=8,
    decoder_channels=(8, 8, 8, 8),
    decoder_input_channels=8,
    context=ContextModelConfig(hidden_channels=8, groups=4),
)
FILTERED = dataclasses.replace(TINY, post_filter_channels=8, post_filter_blocks=1)
QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two photographs, one of them a coarse JPEG."""
    folder = tmp_path_factory.mktemp("photographs")
    Image.fromarray(skimage.data.coffee()).save(folder / "coffee.png")
    (folder / "below").mkdir()
    Image.fromarray(skimage.data.chelsea()).save(folder / "below" / "chelsea.jpg", quality=80)
    return folder


def train(folder: Path, photographs: Path, config: TrainingConfig) -> None:
    """Run one stage quietly."""
    images = load_images(photographs, 200)
    crops = validation_batch(photographs, config.validation_crop)
    STAGE_FUNCTIONS[config.stage](
        Stretch(RunFolder(folder), config, images, crops, Limits(), QUIET, quiet=True)
    )


def log(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, photographs: Path) -> Path:
    """A run through all stages."""
    folder = tmp_path_factory.mktemp("run")
    for config in (
        TrainingConfig("transform-fine", TINY, steps=40, batch_size=4, learning_rate=1e-4),
        TrainingConfig("transform-coarse", TINY, steps=40, batch_size=4, learning_rate=1e-4),
        TrainingConfig("graft", TINY, crop_size=128, batch_size=8),
        TrainingConfig("context", TINY, steps=60, batch_size=4, warmup_steps=5, ema_decay=0.9),
        TrainingConfig("joint", TINY, steps=6, batch_size=4, ema_decay=0.9),
        TrainingConfig(
            "post-filter", FILTERED, steps=20, warmup_steps=1, batch_size=4, learning_rate=1e-3
        ),
    ):
        train(folder, photographs, config)
    return folder


def last(folder: Path, stage: str) -> dict[str, list[float]]:
    return [line for line in log(folder) if line["stage"] == stage][-1]  # type: ignore[return-value]


def test_stage_0_lowers_the_cost_of_the_klt(run: Path) -> None:
    for stage in ("transform-fine", "transform-coarse"):
        costs = [line["log_j"] for line in log(run) if line["stage"] == stage]
        assert costs[-1] < costs[0]  # type: ignore[operator]


def test_the_grafted_network_codes_before_it_is_trained(run: Path) -> None:
    report = last(run, "graft")

    assert report["psnr"][0] > 15
    assert report["psnr"] == sorted(report["psnr"])
    assert report["bpp"] == sorted(report["bpp"])
    assert report["bpp"][0] < 0.2


def test_the_context_model_saves_bits_and_changes_no_picture(run: Path) -> None:
    graft, context = last(run, "graft"), last(run, "context")

    assert context["psnr"] == pytest.approx(graft["psnr"])
    assert all(after < before for after, before in zip(context["bpp"], graft["bpp"], strict=True))


def test_the_exported_weights_cost_what_training_said(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    export_weights(run / "joint.safetensors", path)
    codec = Codec.load(path)
    assert codec.training["ms_ssim_weight"] == 0
    assert codec.training["stages"][-1]["step"] == last(run, "joint")["step"]
    whole = Image.fromarray(skimage.data.coffee())
    left, top = (whole.width - 128) // 2, (whole.height - 128) // 2
    crops = [whole.crop((left, top, left + 128, top + 128))]
    config = TrainingConfig("joint", TINY)
    assert codec.config == config.network
    segments = [step.segment for step in codec.encode_iterations(crops[0])]

    from rnnconv_codec.training.codec import validate
    from rnnconv_codec.training.images import to_tensor
    from rnnconv_codec.training.model import TrainableCodec
    from rnnconv_codec.training.trainer import load_parameters

    model = TrainableCodec(TINY)
    load_parameters(model, load_state(run / "joint.safetensors"), averaged=True)
    with torch.no_grad():
        report = validate(model, [to_tensor(np.asarray(crops[0])[None].copy())])
    estimated = report["bpp"]
    assert isinstance(estimated, list)
    real = np.cumsum([8 * len(segment) for segment in segments]) / 128**2
    assert real == pytest.approx(estimated, rel=0.01, abs=3 * 40 / 128**2)
    assert codec.training["stages"][-1]["stage"] == "joint"


@pytest.mark.parametrize("stage", ["transform-fine", "joint"])
def test_a_resumed_stage_follows_the_same_curve(
    tmp_path: Path, run: Path, photographs: Path, stage: str
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
        for name in ("transform-fine", "context"):
            if name != stage:
                os.link(run / f"{name}.safetensors", folder / f"{name}.safetensors")
    base = {"batch_size": 2, "warmup_steps": 2, "ema_decay": 0.9}

    train(whole, photographs, TrainingConfig(stage, TINY, steps=8, **base))  # type: ignore[arg-type]
    train(parts, photographs, TrainingConfig(stage, TINY, steps=4, **base))  # type: ignore[arg-type]
    assert load_state(parts / f"{stage}.safetensors").progress.step == 4
    train(parts, photographs, TrainingConfig(stage, TINY, steps=8, **base))  # type: ignore[arg-type]

    one, two = (load_state(folder / f"{stage}.safetensors") for folder in (whole, parts))
    assert one.progress.step == two.progress.step == 8
    costs = [log(folder)[-1]["log_j"] for folder in (whole, parts)]
    # The noise of stage 0 is drawn anew, and moments are kept in bfloat16.
    assert costs[0] == pytest.approx(costs[1], abs=2e-3)


def test_a_signal_stops_training_with_a_saved_state(
    tmp_path: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rnnconv_codec.training import transform

    calls = 0
    original = transform.objective

    def interrupted(*arguments: object) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(transform, "objective", interrupted)

    train(tmp_path, photographs, TrainingConfig("transform-fine", TINY, steps=1000, batch_size=2))

    assert load_state(tmp_path / "transform-fine.safetensors").progress.step == 3


def test_toderici_in_the_sizes_of_the_paper_trains_saves_loads_and_codes(
    tmp_path: Path, photographs: Path
) -> None:
    config = TrainingConfig(
        "joint",
        TodericiConfig(),
        steps=1,
        batch_size=1,
        crop_size=32,
        learning_rate=5e-4,
        validation_crop=32,
    )

    train(tmp_path, photographs, config)

    export_weights(tmp_path / "joint.safetensors", tmp_path / "w.safetensors")
    picture = Image.new("RGB", (40, 20), "teal")
    codec = Codec.load(tmp_path / "w.safetensors")
    data = codec.encode(picture)
    assert codec.iterations == len(inspect(data).segment_bytes) == 16
    assert codec.decode(data).size == (40, 20)
    steps = list(codec.encode_iterations(picture))
    assert codec.decode(data).tobytes() == steps[-1].picture.tobytes()


def test_the_post_filter_improves_pictures_and_changes_no_rate(run: Path) -> None:
    joint, filtered = last(run, "joint"), last(run, "post-filter")

    assert filtered["bpp"] == pytest.approx(joint["bpp"])
    assert filtered["gain"] > 0  # type: ignore[operator]
    gains = [after - before for after, before in zip(filtered["psnr"], joint["psnr"], strict=True)]
    assert filtered["gain"] == pytest.approx(sum(gains) / len(gains), abs=1e-3)


def test_weights_with_a_post_filter_code_alike_and_show_other_pictures(
    run: Path, tmp_path: Path
) -> None:
    joint, trained = run / "joint.safetensors", run / "post-filter.safetensors"
    export_weights(joint, tmp_path / "plain.safetensors")
    export_weights(joint, tmp_path / "filtered.safetensors", trained)
    plain, filtered = (
        Codec.load(tmp_path / f"{name}.safetensors") for name in ("plain", "filtered")
    )
    picture = Image.fromarray(skimage.data.coffee()[:70, :90])

    one, other = (list(codec.encode_iterations(picture)) for codec in (plain, filtered))

    assert [step.segment for step in one] == [step.segment for step in other]
    assert all(a.picture.tobytes() != b.picture.tobytes() for a, b in zip(one, other, strict=True))
    shown = filtered.decode(filtered.encode(picture))
    assert shown.tobytes() == other[-1].picture.tobytes()
    assert [s["stage"] for s in filtered.training["stages"]][-2:] == ["joint", "post-filter"]


def test_a_post_filter_of_another_network_is_an_error(run: Path, tmp_path: Path) -> None:
    state = load_state(run / "post-filter.safetensors")
    settings = {**state.settings, "network": {**state.settings["network"], "rate_aware": False}}
    save_state(tmp_path / "other.safetensors", state.tensors, state.progress, settings)

    with pytest.raises(TrainingError, match="another network"):
        export_weights(
            run / "joint.safetensors", tmp_path / "w.safetensors", tmp_path / "other.safetensors"
        )


def test_the_stage_post_filter_needs_a_filter(run: Path, photographs: Path) -> None:
    with pytest.raises(TrainingError, match="post_filter_channels"):
        train(run, photographs, TrainingConfig("post-filter", TINY, steps=1))


@pytest.mark.parametrize(
    "stage", ["transform-fine", "transform-coarse", "graft", "context", "post-filter"]
)
def test_toderici_has_only_the_joint_stage(tmp_path: Path, photographs: Path, stage: str) -> None:
    with pytest.raises(TrainingError):
        train(tmp_path, photographs, TrainingConfig(stage, TINY_TODERICI, steps=1))


def test_a_stage_without_the_one_before_is_an_error(tmp_path: Path, photographs: Path) -> None:
    with pytest.raises(TrainingError, match="rnncodec train context"):
        train(tmp_path, photographs, TrainingConfig("joint", TINY, steps=1))


def test_a_state_of_another_network_is_an_error(
    tmp_path: Path, run: Path, photographs: Path
) -> None:
    os.link(run / "joint.safetensors", tmp_path / "joint.safetensors")
    other = CompactConfig(context=ContextModelConfig(hidden_channels=8))

    with pytest.raises(TrainingError):
        train(tmp_path, photographs, TrainingConfig("joint", other, steps=10))


@pytest.mark.parametrize("content", [b"", b"{}", b'\x08\0\0\0\0\0\0\0{"a":1}', b"x" * 100])
def test_a_damaged_state_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state.safetensors"
    path.write_bytes(content)

    with pytest.raises(TrainingError):
        load_state(path)


def test_settings_survive_json_and_unknown_ones_are_an_error() -> None:
    config = TrainingConfig("joint", TINY, ms_ssim_weight=0.3, crop_size=176)
    saved = json.loads(json.dumps(to_settings(config)))

    assert from_settings(saved) == config
    del saved["ms_ssim_weight"]
    assert from_settings(saved) == TrainingConfig("joint", TINY, crop_size=176)
    with pytest.raises(TrainingError):
        from_settings({**saved, "unheard_of": 1})


def test_the_mixed_distortion_goes_from_mse_to_ms_ssim() -> None:
    image = to_tensor(skimage.data.astronaut()[None, 100:276, 100:276].copy())
    noisy = image + 0.05 * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    coded = Coded([noisy], torch.zeros(1, 1), [()])
    ms_ssim = 1 - float(pytorch_msssim.ms_ssim((noisy + 1) / 2, (image + 1) / 2, data_range=1.0))

    mse, half, whole = (float(distortions(TINY, image, coded, w)[0]) for w in (0.0, 0.5, 1.0))

    assert mse == pytest.approx(float((noisy - image).square().mean()))
    assert whole == pytest.approx(MS_SSIM_SCALE * ms_ssim, rel=1e-3)
    assert half == pytest.approx((mse + whole) / 2, rel=1e-3)


# --- crops -----------------------------------------------------------------------------------


def test_crops_depend_on_seed_and_step_alone(photographs: Path) -> None:
    images = load_images(photographs, 200)
    sampler = CropSampler(images, 32, 3, seed=5)
    first = sampler.batch(7)
    sampler.batch(8)

    assert torch.equal(first, sampler.batch(7))
    assert torch.equal(first, CropSampler(images, 32, 3, seed=5).batch(7))
    assert not torch.equal(first, CropSampler(images, 32, 3, seed=6).batch(7))
    assert first.shape == (3, 3, 32, 32)
    assert -1 <= float(first.min()) < float(first.max()) <= 1


def test_only_coarse_jpegs_count_as_gridded(photographs: Path) -> None:
    assert load_image(photographs / "below" / "chelsea.jpg").gridded
    assert not load_image(photographs / "coffee.png").gridded


def test_high_entropy_tiles_are_the_ones_png_compresses_worst() -> None:
    rng = np.random.default_rng(0)
    pixels = np.full((96, 96, 3), 128, np.uint8)
    pixels[32:64, 64:96] = rng.integers(0, 255, (32, 32, 3))
    pixels[64:96, 0:32, 0] = np.arange(32) * 3

    tiles = high_entropy_tiles([TrainingImage(pixels, False)], 32, 2)

    assert np.array_equal(tiles[0].pixels, pixels[32:64, 64:96])
    assert np.array_equal(tiles[1].pixels, pixels[64:96, 0:32])


def test_a_folder_without_images_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no images"):
        load_images(tmp_path, 10)
    with pytest.raises(TrainingError, match="no such folder"):
        load_images(tmp_path / "missing", 10)


# --- graft -----------------------------------------------------------------------------------


def test_the_pairs_that_remove_most_error_are_chosen() -> None:
    rng = np.random.default_rng(0)
    coefficients = (rng.laplace(size=(4000, 6)) * [5, 3, 0.1, 2, 0.05, 1]).astype(np.float32)
    energy = float(np.square(coefficients).sum())

    chosen = choose_codes(coefficients, [1.0, 0.3], 4)

    assert {code.coefficient for code in chosen[0]} <= {0, 1, 3}
    assert [code.level for code in chosen[0]].count(1.0) >= 1
    assert any(code.level > 1 for code in chosen[0])
    assert float(np.square(coefficients).sum()) < 0.5 * energy


def test_every_code_channel_is_used_once_and_pairs_are_split_over_groups() -> None:
    for pairs, groups in ((96, 4), (48, 4), (5, 3)):
        channels = [channel for pair in pair_channels(pairs, groups) for channel in pair]
        assert sorted(channels) == list(range(2 * pairs))
    group_of = [4 * channel // 192 for channel in range(192)]
    assert all(
        group_of[negative] == group_of[positive] + 1 for positive, negative in pair_channels(96, 4)
    )


def test_the_learning_rate_warms_up_and_decays_to_zero() -> None:
    schedule = Schedule(steps=100, warmup_steps=10, decay_steps=20)

    factors = [schedule.factor(step) for step in range(101)]

    assert factors[0] == pytest.approx(0.1) and factors[9:80] == [1.0] * 71
    assert factors[90] == pytest.approx(0.5) and factors[100] == 0


# --- command line ----------------------------------------------------------------------------


def test_the_command_names_the_stages_that_there_are() -> None:
    assert cli_train.STAGES == training_config.STAGES
    assert cli_train.CROP_METHODS == training_config.CROP_METHODS


def test_the_command_trains_and_exports(tmp_path: Path, photographs: Path) -> None:
    runner = CliRunner()
    common = ["--images", photographs, "--validation", photographs, "--run", tmp_path / "run"]
    small = ["--steps", "2", "--batch-size", "2", "--crops", "high-entropy", "--seed", "3"]
    result = runner.invoke(cli, list(map(str, ["train", "transform-fine", *common, *small])))
    assert result.exit_code == 0, result.output
    saved = json.loads((tmp_path / "run" / "transform-fine.json").read_text())
    assert saved["crops"] == "high-entropy" and saved["seed"] == 3

    again = [*common[:-1], tmp_path / "again", "--config", tmp_path / "run" / "transform-fine.json"]
    result = runner.invoke(cli, list(map(str, ["train", "transform-fine", *again, "--steps", "1"])))
    assert result.exit_code == 0, result.output
    replayed = json.loads((tmp_path / "again" / "transform-fine.json").read_text())
    assert replayed == {**saved, "steps": 1}
    other_stage = runner.invoke(cli, list(map(str, ["train", "joint", *again])))
    assert other_stage.exit_code == 1 and "transform-fine" in other_stage.output

    missing = runner.invoke(cli, list(map(str, ["train", "joint", *common])))
    assert missing.exit_code == 1 and "Traceback" not in missing.output

    state, output = tmp_path / "run" / "transform-fine.safetensors", tmp_path / "w.safetensors"
    exported = runner.invoke(cli, ["export", str(state), "-o", str(output)])
    assert exported.exit_code == 1 and not output.exists()
