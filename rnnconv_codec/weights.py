"""Weights files: where they are, what they hold, and how they are checked.

A weights file is a safetensors file with the network's tensors in float32 (`network.*`), the
context model's in integers (`context.*`), and in its metadata the configuration. Its model id,
by which an `.rnc` file names it, is the first 8 bytes of the SHA-256 of its bytes. This module
imports torch only to load tensors.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from rnnconv_codec.container import MODEL_ID_BYTES
from rnnconv_codec.errors import WeightsFormatError, WeightsNotFoundError, is_out_of_memory
from rnnconv_codec.files import atomic_write, read_file
from rnnconv_codec.networks.config import NetworkConfig, config_from_dict, config_to_dict

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

DEFAULT_WEIGHTS = "compact-mse"
"""Name of the weights that are used when none are named."""

WEIGHTS_VERSION = 1
"""Version of the layout of weights files; newer programs read every earlier one."""

SUFFIX = ".safetensors"

_METADATA_KEY = "rnncodec"
_FILE_KIND = "weights"
_LENGTH_BYTES = 8
_MAX_METADATA_BYTES = 1 << 20


Array = TypeVar("Array")


@dataclass(frozen=True)
class WeightsFile(Generic[Array]):
    """A weights file in memory.

    Attributes:
        name: the file's name without its ending.
        model_id: first 8 bytes of the SHA-256 of the file.
        config: of the network and its context model.
        training: what the training wrote about itself: stages, steps, hours.
        tensors: by name, `network.*` and `context.*`.
    """

    name: str
    model_id: bytes
    config: NetworkConfig
    training: dict[str, Any]
    tensors: Mapping[str, Array]


ModelFile = WeightsFile["Tensor"]
"""Its tensors are torch's."""

ArrayFile: TypeAlias = "WeightsFile[NDArray[Any]]"
"""Its tensors are NumPy's."""


def search_folders() -> list[Path]:
    """Where weights are looked for by name: in an installed wheel, then in a checkout."""
    package = Path(__file__).resolve().parent
    return [package / "weights_data", package.parent / "weights"]


def list_weights() -> list[Path]:
    """The installed weights files, by name; of two of the same name the first that is found."""
    found: dict[str, Path] = {}
    for folder in search_folders():
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            found.setdefault(path.stem, path)
    return [found[name] for name in sorted(found)]


def find_weights(name_or_path: str | os.PathLike[str]) -> Path:
    """The weights file of a name, or at a path.

    Raises:
        WeightsNotFoundError: there is none.
    """
    given = os.fspath(name_or_path)
    path = Path(given)
    if path.is_file():
        return path
    for installed in list_weights():
        if installed.stem == given:
            return installed
    names = ", ".join(p.stem for p in list_weights()) or "none"
    raise WeightsNotFoundError(f"no weights {given!r}: not a file, and installed are: {names}")


def model_id_of(path: Path) -> bytes:
    """The model id of a weights file; remembered as long as the file does not change.

    Raises:
        InputFileError: it cannot be read.
    """
    status = path.stat()
    return _model_id_once(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=64)
def _model_id_once(path: Path, modified: int, size: int) -> bytes:
    del modified, size  # part of the key: a file that was replaced has another id
    return _digest(read_file(path))


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:MODEL_ID_BYTES]


def find_by_model_id(model_id: bytes) -> Path | None:
    """The installed weights with a model id, or None."""
    for path in list_weights():
        if model_id_of(path) == model_id:
            return path
    return None


def name_of_model(model_id: bytes) -> str:
    """What to call a model in a message: its id, and its name where it is installed."""
    path = find_by_model_id(model_id)
    return model_id.hex() + (f" ({path.stem})" if path else "")


def load_model_file(path: Path) -> ModelFile:
    """Read and check a weights file.

    Raises:
        InputFileError: it cannot be read.
        WeightsFormatError: it is not a weights file, or not of a version this program reads.
    """
    from safetensors.torch import load

    return _load(path, load)


def load_array_file(path: Path) -> ArrayFile:
    """The same without torch."""
    from safetensors.numpy import load

    return _load(path, load)


def _load(path: Path, load: Callable[[bytes], Mapping[str, Array]]) -> WeightsFile[Array]:
    from safetensors import SafetensorError

    data = read_file(path)
    description = _description(path, data)
    try:
        config = config_from_dict(description["config"])
        training = _training_history(description)
        tensors = load(data)
    except (KeyError, RuntimeError, TypeError, ValueError, SafetensorError) as error:
        if is_out_of_memory(error):
            raise
        # RuntimeError: a shape that torch cannot make, such as one of 2^62 by nothing.
        raise WeightsFormatError(f"{path}: damaged weights file: {error}") from error
    return WeightsFile(path.stem, _digest(data), config, training, tensors)


def read_config(path: Path) -> NetworkConfig:
    """The configuration in a weights file, without loading its tensors.

    Raises:
        InputFileError: it cannot be read.
        WeightsFormatError: it is not a weights file, or not of a version this program reads.
    """
    try:
        return config_from_dict(_description(path, read_file(path))["config"])
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsFormatError(f"{path}: damaged weights file: {error}") from error


def _description(path: Path, data: bytes) -> dict[str, Any]:
    """What a weights file says of itself, from its header: JSON behind an 8-byte length."""
    length = int.from_bytes(data[:_LENGTH_BYTES], "little")
    try:
        if length > min(_MAX_METADATA_BYTES, len(data) - _LENGTH_BYTES):
            raise ValueError("its header is longer than the file")
        header = json.loads(data[_LENGTH_BYTES : _LENGTH_BYTES + length])
        description = json.loads(header["__metadata__"][_METADATA_KEY])
        if description["kind"] != _FILE_KIND:
            raise ValueError("it is not marked as such")
        version = description["version"]
        if type(version) is not int or version < 1:  # bool is an int, too
            raise ValueError(f"its version is {version!r}")
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise WeightsFormatError(f"{path} is not an rnncodec weights file: {error}") from error
    if version > WEIGHTS_VERSION:
        raise WeightsFormatError(
            f"{path}: weights of version {version}; this program reads up to {WEIGHTS_VERSION}"
        )
    return dict(description)


def _training_history(description: Mapping[str, Any]) -> dict[str, Any]:
    """What a weights file tells of its training; `ValueError` if that cannot be shown."""
    training = dict(description.get("training", {}))
    stages = training.get("stages", [])
    is_sound = isinstance(training.get("ms_ssim_weight", 0), int | float)
    is_sound &= isinstance(stages, list) and all(_is_stage(stage) for stage in stages)
    if not is_sound:
        raise ValueError("its training history is none")
    return training


def _is_stage(stage: object) -> bool:
    # The name is shown in a terminal.
    return (
        isinstance(stage, dict)
        and isinstance(name := stage.get("stage"), str)
        and name.isprintable()
        and isinstance(stage.get("step"), int)
        and isinstance(stage.get("seconds"), int | float)
    )


def save_model_file(
    path: Path,
    config: NetworkConfig,
    tensors: Mapping[str, Tensor],
    training: Mapping[str, Any],
) -> bytes:
    """Write a weights file, replacing it as a whole; returns its model id.

    Raises:
        OutputFileError: it cannot be written.
    """
    from safetensors.torch import save

    description = {
        "kind": _FILE_KIND,
        "version": WEIGHTS_VERSION,
        "config": config_to_dict(config),
        "training": dict(training),
    }
    # One entry: safetensors writes several in random order, and equal weights would get
    # another model id each time.
    metadata = {_METADATA_KEY: json.dumps(description)}
    data = save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata)
    atomic_write(path, data, force=True)
    return _digest(data)
