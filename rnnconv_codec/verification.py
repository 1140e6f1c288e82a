"""Whether weights files are what they should be."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from rnnconv_codec.errors import RnncodecError, WeightsFormatError
from rnnconv_codec.files import read_file
from rnnconv_codec.weights import load_model_file, model_id_of, read_config

_DISTRIBUTION = "rnnconv-codec"


@dataclass(frozen=True)
class WeightsReport:
    """A weights file and what was found out about it.

    Attributes:
        name: of the weights.
        path: of the file.
        model_id: hexadecimal; the first 8 bytes of the SHA-256 of the file.
        file_bytes: its size.
        preset: of the network, None if the file cannot be read.
        iterations: of the network, None if the file cannot be read.
        is_verified: whether more than the above was looked at.
        fault: what is wrong, None if nothing is known to be.
    """

    name: str
    path: Path
    model_id: str
    file_bytes: int
    preset: str | None
    iterations: int | None
    is_verified: bool
    fault: str | None


def report_on_weights(path: Path, *, verify: bool) -> WeightsReport:
    """Describe a weights file, and verify it if asked, which takes torch.

    Verified are: the SHA-256, if the file came in a wheel, against the wheel's record; that all
    tensors of the network are there, of the right shape and in range; that no partial sum of the
    context model can leave the range in which float32 is exact.

    Raises:
        InputFileError: the file cannot be read.
    """
    model_id = model_id_of(path).hex()
    preset: str | None = None
    iterations: int | None = None
    fault: str | None = None
    try:
        config = read_config(path)
        preset, iterations = config.preset, config.iterations
        if verify:
            _verify(path)
    except RnncodecError as error:
        fault = str(error)
    size = path.stat().st_size
    return WeightsReport(path.stem, path, model_id, size, preset, iterations, verify, fault)


def _verify(path: Path) -> None:
    from rnnconv_codec.codec import Codec

    recorded = recorded_digest(path)
    if recorded is not None and hashlib.sha256(read_file(path)).digest() != recorded:
        raise WeightsFormatError(f"{path} is not the file that was installed: its SHA-256 differs")
    Codec(load_model_file(path))


def recorded_digest(path: Path) -> bytes | None:
    """The SHA-256 that the installed wheel records of a file, None if it is not part of one."""
    try:
        files = metadata.files(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return None
    for file in files:
        if file.name == path.name and file.hash is not None and file.hash.mode == "sha256":
            located = Path(str(file.locate()))
            if located.resolve() == path.resolve():
                return base64.urlsafe_b64decode(file.hash.value + "=")
    return None
