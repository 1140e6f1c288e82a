"""`rnncodec weights`: what is installed, and whether it is what it should be."""

from __future__ import annotations

import base64
import hashlib
import json
from importlib import metadata
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from rnnconv_codec.cli.group import cli
from rnnconv_codec.weights import DEFAULT_WEIGHTS, ModelFile, list_weights, save_model_file


def run(*arguments: str | Path) -> Result:
    return CliRunner(catch_exceptions=False).invoke(cli, [str(argument) for argument in arguments])


def test_installed_weights_are_listed() -> None:
    result = run("weights", "--no-verify", "--json")
    assert result.exit_code == 0
    listed = {report["name"]: report for report in json.loads(result.stdout)}
    assert set(listed) == {path.stem for path in list_weights()}
    assert listed[DEFAULT_WEIGHTS]["iterations"] == 8
    assert listed[DEFAULT_WEIGHTS]["is_verified"] is False


def test_a_good_file_is_verified(tiny_weights: Path) -> None:
    digest = hashlib.sha256(tiny_weights.read_bytes()).hexdigest()
    result = run("weights", tiny_weights)
    assert result.exit_code == 0
    line = result.stdout.splitlines()[-1].split()
    assert line[:4] == ["tiny", digest[:16], "compact", "3"]
    assert line[-1] == "ok"


@pytest.mark.parametrize(
    ("fault", "message"),
    [("not finite", "not finite"), ("inexact", "2^24"), ("no weights", "not an rnncodec")],
)
def test_faulty_files_are_told_with_status_1(
    fault: str, message: str, tmp_path: Path, tiny_model: ModelFile, tiny_weights: Path
) -> None:
    path = tmp_path / "faulty.safetensors"
    tensors = dict(tiny_model.tensors)
    if fault == "not finite":
        tensors["network.synthesis.weight"] = tensors["network.synthesis.weight"] * float("nan")
    elif fault == "inexact":
        name = "context.0.pointwise.bias"
        tensors[name] = torch.full_like(tensors[name], 2**24)
    save_model_file(path, tiny_model.config, tensors, {})
    if fault == "no weights":
        path.write_bytes(b"not a weights file at all")
    result = run("weights", path, tiny_weights, "--json")
    assert result.exit_code == 1
    bad, good = json.loads(result.stdout)
    assert good["fault"] is None
    assert message in bad["fault"]


class Recorded(metadata.PackagePath):
    """A file of an installed package, at a place of its own."""

    place: Path

    def locate(self) -> Path:
        return self.place


@pytest.mark.parametrize("is_changed", [False, True])
def test_an_installed_file_must_be_the_recorded_one(
    is_changed: bool, tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = tiny_weights.read_bytes()
    digest = hashlib.sha256(content + b"x" * is_changed).digest()
    path = tmp_path / "tiny.safetensors"
    path.write_bytes(content)
    recorded = Recorded("rnnconv_codec/weights_data/tiny.safetensors")
    recorded.place = path
    value = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    recorded.hash = metadata.FileHash(f"sha256={value}")
    monkeypatch.setattr(metadata, "files", lambda _: [recorded])
    result = run("weights", path)
    assert result.exit_code == int(is_changed)
    assert ("its SHA-256 differs" in result.stdout) == is_changed


def test_unknown_weights_are_an_error() -> None:
    result = run("weights", "no-such-weights")
    assert result.exit_code == 1
    assert "no-such-weights" in result.stderr
