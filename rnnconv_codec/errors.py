"""Every way an argument, an image, a file or a weights file can be bad, one exception each.

All of them derive from `RnncodecError`. A command prints the message as one line on
standard error and leaves with `exit_status`: 1 when the input or a file is bad, 2 when the
call itself is wrong.
"""

from __future__ import annotations


class RnncodecError(Exception):
    """Base class of all errors that rnncodec raises on purpose."""

    exit_status = 1


class ArgumentError(RnncodecError, ValueError):
    """An argument is outside its range or contradicts another one."""

    exit_status = 2


class IterationsError(ArgumentError):
    """The number of iterations asked for is not available."""


class TargetError(ArgumentError):
    """A file cannot be as small, or a picture as good, as was asked for."""


class QualityError(RnncodecError):
    """A quality cannot be measured: the picture is too small."""


OUT_OF_MEMORY = "not enough memory"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that there is not enough memory."""
    # torch's allocator raises no MemoryError; these are its words on Linux and on Windows.
    words = ("can't allocate memory", "not enough memory")
    is_allocator = isinstance(error, RuntimeError) and any(w in str(error) for w in words)
    return is_allocator or isinstance(error, MemoryError)


class ClusterError(RnncodecError):
    """A cluster cannot be reached."""


# --- files -----------------------------------------------------------------------------------


class InputFileError(RnncodecError):
    """The input cannot be read: missing, a directory, or not permitted."""


class OutputFileError(RnncodecError):
    """The output cannot be written."""


class OutputExistsError(OutputFileError):
    """The output exists already and overwriting was not asked for."""


class ImageFormatError(RnncodecError):
    """The input is not an image that Pillow can read, or its output format is unknown."""


class ImageSizeError(RnncodecError):
    """The image has no pixels, or more than the limit."""


# --- .rnc containers -------------------------------------------------------------------------


class ContainerError(RnncodecError):
    """Base class of everything that can be wrong with the bytes of an `.rnc` file."""


class NotAnRncFileError(ContainerError):
    """The data does not start with the magic of an `.rnc` file."""


class UnsupportedVersionError(ContainerError):
    """The file's format version is newer than this program."""


class TruncatedHeaderError(ContainerError):
    """The data ends before the first iteration is complete: nothing can be decoded."""


class ChecksumError(ContainerError):
    """The CRC-32 of a chunk does not match its content or the chunks before it."""


class MalformedChunkError(ContainerError):
    """A chunk is syntactically wrong: bad length, bad field, trailing data."""


class ChunkOrderError(ContainerError):
    """A chunk is missing, repeated or out of order."""


class UnknownChunkError(ContainerError):
    """A chunk that is required to decode the file has an unknown type."""


class CodeSegmentError(ContainerError):
    """A segment passed its checksum but does not decode to valid codes."""


class AlphaChunkError(ContainerError):
    """The alpha chunk is not the alpha plane of a picture of the file's size."""


# --- weights ---------------------------------------------------------------------------------


class WeightsError(RnncodecError):
    """Base class of everything that can be wrong with a weights file."""


class WeightsNotFoundError(WeightsError):
    """No weights of that name or path."""


class WeightsFormatError(WeightsError):
    """The file is not a weights file, or its tensors do not fit its configuration."""


class ModelMismatchError(WeightsError):
    """The `.rnc` file was written with another model than the one loaded."""


class IntegerRangeError(WeightsError):
    """A context model's partial sums could leave the range where float32 is exact."""


# --- evaluation ------------------------------------------------------------------------------


class MissingExtraError(RnncodecError):
    """The command needs a library that is installed with an extra of this package."""


class AnchorError(RnncodecError):
    """A codec that is measured for comparison cannot encode an image."""


class ResultsFormatError(RnncodecError):
    """The file does not hold results of `rnncodec eval` that this program reads."""


# --- training --------------------------------------------------------------------------------


class TrainingError(RnncodecError):
    """Training cannot start or go on: no images, a missing or unfitting state."""


# --- notices ---------------------------------------------------------------------------------


class RnncodecWarning(UserWarning):
    """Base class of notices: the result is right but not all that was expected."""


class TruncatedFileWarning(RnncodecWarning):
    """The file is cut: fewer iterations can be decoded than were encoded."""


class ConversionWarning(RnncodecWarning):
    """The image was converted and something was left behind (alpha, 16-bit depth, frames)."""


class LargerOutputWarning(RnncodecWarning):
    """The compressed file is larger than the one it was made of."""


class AnchorUnavailableWarning(RnncodecWarning):
    """This Pillow cannot write a format: it is left out of the comparison."""


class CacheUnavailableWarning(RnncodecWarning):
    """Measurements cannot be kept for the next time."""
