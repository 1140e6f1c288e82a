"""A training session: what every stage needs around its objective.

Reads the images, resumes or starts the state, shows progress, writes the log. Files of a run
folder: `<stage>.safetensors` (resumable state), `<stage>.json` (configuration) and `log.jsonl`
(one line per validation).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar
from torch import Tensor, nn

from rnnconv_codec.errors import OutputFileError, TrainingError
from rnnconv_codec.files import atomic_write
from rnnconv_codec.training.config import TrainingConfig, to_settings
from rnnconv_codec.training.images import (
    MAX_DOWNSCALE,
    CropSampler,
    TrainingImage,
    high_entropy_tiles,
    load_images,
    prefetch,
    to_tensor,
)
from rnnconv_codec.training.trainer import (
    Limits,
    ParameterGroup,
    Progress,
    State,
    Trainer,
    load_state,
    run,
)

Report = dict[str, float | list[float]]


@dataclass(frozen=True)
class RunFolder:
    """The files of one training run."""

    path: Path

    def state(self, stage: str) -> Path:
        """The resumable state of a stage."""
        return self.path / f"{stage}.safetensors"

    def config(self, stage: str) -> Path:
        """The configuration of a stage."""
        return self.path / f"{stage}.json"

    @property
    def log(self) -> Path:
        """A JSON line per validation."""
        return self.path / "log.jsonl"

    def begun_state(self, stage: str) -> State | None:
        """The state of a stage that was begun before, or None."""
        path = self.state(stage)
        return load_state(path) if path.exists() else None

    def previous_state(self, stage: str) -> State:
        """The finished state of the stage that another one starts from.

        Raises:
            TrainingError: it is not there.
        """
        path = self.state(stage)
        if not path.exists():
            raise TrainingError(f"{path}: missing; run `rnncodec train {stage}` first")
        return load_state(path)


def training_images(folder: Path, config: TrainingConfig) -> list[TrainingImage]:
    """The images or tiles that crops are drawn from, by the configuration's method.

    Raises:
        TrainingError: no usable image in the folder.
    """
    side = int(config.crop_size * MAX_DOWNSCALE) + 1
    images = load_images(folder, side)
    if config.crops == "high-entropy":
        return high_entropy_tiles(images, side, config.tiles_per_image)
    return images


def validation_batch(folder: Path, crop: int) -> list[Tensor]:
    """Central crops (1, 3, crop, crop) in [-1, 1] of the images of a folder.

    Raises:
        TrainingError: no image is large enough.
    """
    crops: list[Tensor] = []
    for image in load_images(folder, crop):
        top = (image.pixels.shape[0] - crop) // 2
        left = (image.pixels.shape[1] - crop) // 2
        pixels = np.ascontiguousarray(image.pixels[None, top : top + crop, left : left + crop])
        crops.append(to_tensor(pixels))
    return crops


def new_progress(stage: str, before: State | None = None) -> Progress:
    """Counters of a stage that begins, with the history of the stage it starts from."""
    if before is None:
        return Progress(stage)
    return Progress(stage, history=before.progress.stages())


def write_config(folder: RunFolder, config: TrainingConfig) -> None:
    """Save the configuration beside the state."""
    text = json.dumps(to_settings(config), indent=2) + "\n"
    atomic_write(folder.config(config.stage), text.encode(), force=True)


def read_settings(path: Path) -> dict[str, Any]:
    """The settings that `write_config` saved.

    Raises:
        TrainingError: the file cannot be read or is not JSON.
    """
    try:
        settings = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path}: cannot read the configuration: {error}") from error
    if not isinstance(settings, dict):
        raise TrainingError(f"{path}: not a configuration")
    return settings


def append_log(folder: RunFolder, progress: Progress, report: Report) -> None:
    """Add a line to the log of the run.

    Raises:
        OutputFileError: it cannot be written.
    """
    line = {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "stage": progress.stage,
        "step": progress.step,
        "seconds": round(progress.seconds, 1),
        **report,
    }
    try:
        with folder.log.open("a") as file:
            file.write(json.dumps(line) + "\n")
    except OSError as error:
        raise OutputFileError(f"cannot write {folder.log}: {error.strerror}") from error


def describe(report: Report) -> str:
    """One line for people: `bpp:PSNR` pairs where the report has them, then the scalars."""
    parts: list[str] = []
    bpp, psnr = report.get("bpp"), report.get("psnr")
    if isinstance(bpp, list) and isinstance(psnr, list):
        parts.append(" ".join(f"{b:.3f}:{p:.2f}" for b, p in zip(bpp, psnr, strict=True)))
    parts.extend(f"{k} {v:.4f}" for k, v in report.items() if isinstance(v, float))
    return "  ".join(parts)


@dataclass(frozen=True)
class Trained:
    """What a stage trains.

    Attributes:
        model: with the weights that the stage starts from.
        groups: its parameters by learning rate.
        progress: counters, changed in place.
        state: to go on from, None at the start of the stage.
    """

    model: nn.Module
    groups: list[ParameterGroup]
    progress: Progress
    state: State | None


@dataclass(frozen=True)
class Stretch:
    """One stretch of one stage: where it works, with what, and until when.

    Attributes:
        folder: of the run.
        config: of the stage.
        images: to draw crops from.
        crops: validation crops, each (1, 3, H, W) in [-1, 1].
        limits: when to stop, save and validate.
        console: where the progress bar and the validation lines go.
        quiet: no progress bar.
    """

    folder: RunFolder
    config: TrainingConfig
    images: list[TrainingImage]
    crops: list[Tensor]
    limits: Limits
    console: Console
    quiet: bool = False

    def sampler(self, offset: int = 0) -> CropSampler:
        """Crops of the stage; other ones for each offset to its seed."""
        config = self.config
        return CropSampler(self.images, config.crop_size, config.batch_size, config.seed + offset)


def train_stage(
    stretch: Stretch,
    trained: Trained,
    objective: Callable[[Tensor], Tensor],
    validate: Callable[[], Report],
) -> None:
    """Run (or go on with) one stage and leave its state, configuration and log in the folder.

    Args:
        stretch: where, with what, until when.
        trained: what is trained, and how far it is.
        objective: loss of a batch.
        validate: measures the model; called with its averaged weights.
    """
    folder, config, console = stretch.folder, stretch.config, stretch.console
    progress = trained.progress
    trainer = Trainer(
        trained.model.to(memory_format=torch.channels_last),  # type: ignore[call-overload]
        trained.groups,
        config.schedule(),
        progress,
        ema_decay=config.ema_decay,
        clip_norm=config.clip_norm,
    )
    if trained.state is not None:
        trainer.restore(trained.state)
    settings = to_settings(config)
    write_config(folder, config)

    def loss(batch: Tensor) -> Tensor:
        # The noise of a step is the same however often training was stopped before it.
        torch.manual_seed(config.seed * 1_000_003 + progress.step)
        return objective(batch)

    with progress_bar(console, config.stage, config.steps, stretch.quiet) as update:

        def measure() -> None:
            trainer.model.eval()
            with torch.no_grad(), trainer.averaged():
                report = validate()
            trainer.model.train()
            append_log(folder, progress, report)
            minutes = progress.seconds / 60
            line = f"{config.stage} {progress.step} {minutes:.1f} min  {describe(report)}"
            console.print(line, soft_wrap=True)

        trainer.model.train()
        if progress.step == 0:
            measure()
        run(
            trainer,
            prefetch(stretch.sampler(), progress.step),
            loss,
            limits=stretch.limits,
            save=lambda: trainer.save(folder.state(config.stage), settings),
            validate=measure,
            report=lambda step, loss, norms: update(step, loss),
        )


@contextmanager
def progress_bar(
    console: Console, stage: str, steps: int, quiet: bool
) -> Iterator[Callable[[int, float], None]]:
    """A progress bar over the steps of a stage; yields the function that moves it."""
    bar = ProgressBar(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.4f}"),
        TimeRemainingColumn(),
        console=console,
        disable=quiet or not console.is_terminal,
    )
    with bar:
        task = bar.add_task(stage, total=steps, loss=0.0)
        yield lambda step, loss: bar.update(task, completed=step, loss=loss)
