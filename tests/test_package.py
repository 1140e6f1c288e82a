"""The package as it is built, installed and imported."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import rnnconv_codec

ROOT = Path(__file__).parent.parent
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
WEIGHTS = sorted(path.name for path in (ROOT / "weights").glob("*.safetensors"))


def python(script: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout


def build(target: str, folder: Path) -> Path:
    """Build a "wheel" or an "sdist" with the backend that pip uses, without pip's environment."""
    script = (
        f"import hatchling.build as backend, sys\nprint(backend.build_{target}({str(folder)!r}))\n"
    )
    return folder / python(script).strip()


def test_importing_the_package_imports_neither_torch_nor_numpy() -> None:
    script = (
        "import sys, rnnconv_codec\n"
        "rnnconv_codec.inspect, rnnconv_codec.truncate\n"
        "print(sorted({'torch', 'numpy'} & set(sys.modules)))"
    )
    assert python(script) == "[]\n"


def test_public_names_are_there_and_listed() -> None:
    for name in rnnconv_codec.__all__:
        assert hasattr(rnnconv_codec, name)
        assert name in dir(rnnconv_codec)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = rnnconv_codec.nonsense


def test_the_version_is_that_of_the_project() -> None:
    assert f'\nversion = "{rnnconv_codec.__version__}"\n' in PROJECT


def test_a_wheel_has_code_templates_type_marker_and_weights(tmp_path: Path) -> None:
    with zipfile.ZipFile(build("wheel", tmp_path)) as wheel:
        found = set(wheel.namelist())
    assert {
        "rnnconv_codec/cli/__init__.py",
        "rnnconv_codec/evaluation/templates/report.html.j2",
        "rnnconv_codec/py.typed",
    } <= found
    packed = {name for name in found if name.endswith(".safetensors")}
    assert packed == {f"rnnconv_codec/weights_data/{name}" for name in WEIGHTS}
    folders = {name.split("/")[0] for name in found}
    assert folders == {"rnnconv_codec", f"rnnconv_codec-{rnnconv_codec.__version__}.dist-info"}


def test_a_source_archive_has_the_weights_but_no_training_state(tmp_path: Path) -> None:
    with tarfile.open(build("sdist", tmp_path)) as archive:
        found = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert {"pyproject.toml", "README.md", "LICENSE", "rnnconv_codec/container.py"} <= found
    packed = {name for name in found if name.startswith("weights/")} - {"weights/README.md"}
    assert packed == {f"weights/{name}" for name in WEIGHTS}
