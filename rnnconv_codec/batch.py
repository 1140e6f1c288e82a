"""Many files: what is done to each, and where it is done.

A conversion (`Encoding`, `Decoding`) makes bytes of bytes, so that it runs alike in this process,
in another one (`processes`) or on another machine (`cluster`). Reading and writing files is left to
`convert_files`, in the process that was started: a conversion that ends early has written nothing.
"""

from __future__ import annotations

import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from rnnconv_codec.container import DEFAULT_MAX_PIXELS, FileInfo, inspect
from rnnconv_codec.errors import (
    OUT_OF_MEMORY,
    ArgumentError,
    InputFileError,
    LargerOutputWarning,
    ModelMismatchError,
    OutputExistsError,
    RnncodecError,
    RnncodecWarning,
    is_out_of_memory,
)
from rnnconv_codec.files import atomic_write, check_output, is_same_file, make_folder, read_file
from rnnconv_codec.memory import collected_later, give_back_freed_memory
from rnnconv_codec.targets import WHOLE, Target, cut, encode_prepared_to_target

if TYPE_CHECKING:
    from rnnconv_codec.codec import Codec
    from rnnconv_codec.light.decoder import LightDecoder

Progress = Callable[[int, int], None]

# One picture at a time in a process: torch has its own threads, and `warnings` is not made for
# several. A Dask worker may have more than one thread.
_one_at_a_time = threading.Lock()


# --- what is done to a file ------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """What a conversion gives.

    Attributes:
        data: content of the file to write.
        info: of the `.rnc` file, which is `data` or what it was made of.
        used: the same, cut to what was decoded.
    """

    data: bytes
    info: FileInfo
    used: FileInfo

    @property
    def rnc_bytes(self) -> int:
        """Size of the `.rnc` file as far as it is used."""
        return self.used.decodable_bytes

    @property
    def bpp(self) -> float:
        """Bits of the `.rnc` file, as far as it is used, per pixel."""
        return self.used.bpp_of(self.used.decodable_bytes)


class Conversion(Protocol):
    """What is done to the content of each file."""

    def run(self, data: bytes, name: str, progress: Progress | None = None) -> Result:
        """Convert; `name` is for messages, `progress` is called after each iteration."""
        ...


@dataclass(frozen=True)
class Encoding:
    """Image to `.rnc`: the arguments of `api.encode`, and the threads to compute with.

    `allow_larger` leaves out the notice that the result is larger than the image file;
    `max_pixels` is that of `images.open_image`, None its default.
    """

    target: Target = WHOLE
    weights: str | None = None
    alpha: str = "lossless"
    strip: Collection[str] = ()
    threads: int | None = None
    model_id: str | None = None
    allow_larger: bool = False
    max_pixels: int | None = None

    def run(self, data: bytes, name: str, progress: Progress | None = None) -> Result:
        """The `.rnc` file of an image.

        Raises:
            ModelMismatchError: the weights are not those that `model_id` says; it is there for
                other machines, whose weights of this name may be others.
            RnncodecError: see `api.encode` and `images.open_image`.

        Warns:
            LargerOutputWarning: it is larger than the image file.
        """
        from rnnconv_codec.images import open_image, prepare_picture

        limit = self.max_pixels or DEFAULT_MAX_PIXELS
        picture = prepare_picture(
            open_image(data, max_pixels=limit, name=name),
            alpha=self.alpha,
            strip=self.strip,
            max_pixels=limit,
        )
        give_back_freed_memory()

        from rnnconv_codec.api import load_codec

        use_threads(self.threads)
        codec = load_codec(self.weights)
        if self.model_id not in (None, codec.model_id.hex()):
            raise ModelMismatchError(
                f"the weights {codec.name} are model {codec.model_id.hex()} there, "
                f"asked for was {self.model_id}"
            )
        encoded = encode_prepared_to_target(codec, picture, self.target, progress=progress)
        if len(encoded) > len(data) and not self.allow_larger:
            warnings.warn(
                f"the .rnc file has {len(encoded)} bytes, more than the {len(data)} of the image "
                "file: a target such as --bpp makes it smaller",
                LargerOutputWarning,
                stacklevel=2,
            )
        info = inspect(encoded)
        return Result(encoded, info, info)


@dataclass(frozen=True)
class Decoding:
    """`.rnc` to image: the arguments of `api.decode` and `images.image_bytes`, and the threads.

    `max_pixels` is that of `Codec.decode`, None its default; `few_files` that of
    `engines.light_decoder_for`.
    """

    format: str
    target: Target = WHOLE
    weights: str | None = None
    background: str | None = None
    strip: Collection[str] = ()
    threads: int | None = None
    max_pixels: int | None = None
    few_files: bool = False

    def run(self, data: bytes, name: str, progress: Progress | None = None) -> Result:
        """The image file of an `.rnc` file.

        Raises:
            RnncodecError: see `api.decode` and `images.image_bytes`.
        """
        info = inspect(data)
        data = cut(data, self.target)

        from rnnconv_codec.engines import light_decoder_for
        from rnnconv_codec.images import extract_metadata, image_bytes, strip_metadata

        decoder: Codec | LightDecoder | None
        decoder = light_decoder_for(data, self.weights, few_files=self.few_files)
        if decoder is not None:
            use_blas_threads(self.threads)
        else:
            from rnnconv_codec.api import codec_for

            use_threads(self.threads)
            decoder = codec_for(data, self.weights)
        limit = self.max_pixels or DEFAULT_MAX_PIXELS
        image = decoder.decode(data, progress=progress, max_pixels=limit)
        metadata = strip_metadata(extract_metadata(image), self.strip)
        content = image_bytes(image, self.format, metadata, background=self.background)
        return Result(content, info, inspect(data))


def use_threads(threads: int | None) -> None:
    """Let torch compute with this many threads; None leaves its own choice."""
    if threads is None:
        return
    with collected_later():
        import torch

    torch.set_num_threads(threads)


def use_blas_threads(threads: int | None) -> None:
    """The same for NumPy's matrix products."""
    if threads is None:
        return
    from threadpoolctl import threadpool_limits

    threadpool_limits(threads, user_api="blas")


# --- where it is done ------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """A file to convert, and where the result goes."""

    source: Path
    output: Path


@dataclass(frozen=True)
class Task:
    """A job whose file has been read."""

    job: Job
    data: bytes

    @property
    def name(self) -> str:
        """What messages call the file."""
        return str(self.job.source)


@dataclass(frozen=True)
class Outcome:
    """What came of a task: a result or an error, and notices."""

    result: Result | None = None
    error: str | None = None
    notices: tuple[str, ...] = ()
    seconds: float = 0.0


class Runner(Protocol):
    """Where tasks are done."""

    def run(self, conversion: Conversion, tasks: Iterator[Task]) -> Iterator[tuple[Task, Outcome]]:
        """Do all tasks, in any order; few of them are taken from `tasks` ahead of their turn."""
        ...


def convert(conversion: Conversion, data: bytes, name: str) -> Outcome:
    """Run a conversion; whatever is wrong with the file becomes part of the outcome."""
    started = time.perf_counter()
    result: Result | None = None
    error: str | None = None
    with _one_at_a_time, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RnncodecWarning)
        try:
            result = conversion.run(data, name)
        except RnncodecError as raised:
            error = str(raised)
        except Exception as raised:  # a fault of the program must not cost the other files
            memory = is_out_of_memory(raised)
            error = OUT_OF_MEMORY if memory else f"{type(raised).__name__}: {raised}"
    notices = [str(w.message) for w in caught if issubclass(w.category, RnncodecWarning)]
    return Outcome(result, error, tuple(notices), time.perf_counter() - started)


class ThisProcess:
    """Runs one task after the other, here."""

    def run(self, conversion: Conversion, tasks: Iterator[Task]) -> Iterator[tuple[Task, Outcome]]:
        """See `Runner`."""
        for task in tasks:
            yield task, convert(conversion, task.data, task.name)


# --- files -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Report:
    """What became of a job.

    Attributes:
        job: which one.
        status: what became of it; "skipped" because its output was there already.
        outcome: of its conversion, or the error that kept it from starting or being written.
    """

    job: Job
    status: Literal["done", "skipped", "failed"]
    outcome: Outcome


def convert_files(
    jobs: Iterable[Job],
    conversion: Conversion,
    runner: Runner,
    *,
    overwrite: bool,
    skip_existing: bool,
) -> Iterator[Report]:
    """Read, convert and write files; a report of each, as they end.

    A failure of one does not stop the others. Folders of outputs are made. Two jobs with one
    output are a failure of the second.
    """
    early: list[Report] = []
    for task, outcome in runner.run(
        conversion, _tasks(jobs, early, overwrite=overwrite, skip_existing=skip_existing)
    ):
        yield from early
        early.clear()
        yield _written(task.job, outcome, overwrite=overwrite)
    yield from early


def _tasks(
    jobs: Iterable[Job], early: list[Report], *, overwrite: bool, skip_existing: bool
) -> Iterator[Task]:
    """The jobs that can start; reports of the others are added to `early`."""
    taken: dict[Path, Path] = {}
    for job in jobs:
        try:
            first = taken.setdefault(job.output, job.source)
            if first != job.source:
                raise OutputExistsError(f"{job.output} is the output of {first} already")
            if is_same_file(job.source, job.output):
                raise ArgumentError("the output is the input")
            if skip_existing and job.output.exists():
                early.append(Report(job, "skipped", Outcome()))
                continue
            if job.source.is_dir():
                raise InputFileError(f"{job.source} is a directory: use --recursive")
            make_folder(job.output.parent)
            check_output(job.output, force=overwrite)
            yield Task(job, read_file(job.source))
        except (RnncodecError, OSError) as error:
            early.append(Report(job, "failed", Outcome(error=str(error))))


def _written(job: Job, outcome: Outcome, *, overwrite: bool) -> Report:
    if outcome.result is None:
        return Report(job, "failed", outcome)
    try:
        atomic_write(job.output, outcome.result.data, force=overwrite)
    except RnncodecError as error:
        return Report(job, "failed", replace(outcome, result=None, error=str(error)))
    return Report(job, "done", outcome)


def plan_jobs(
    sources: Iterable[Path],
    *,
    ending: str,
    suffixes: Collection[str],
    output_dir: Path | None,
    recursive: bool,
) -> list[Job]:
    """The jobs for files, and for what is in folders.

    Inputs that would have one output, such as a.jpg and a.png, keep their suffixes in its name.

    Args:
        sources: files, of any suffix, and folders.
        ending: of the outputs, in place of the inputs'.
        suffixes: in lower case, of the files to take from folders; hidden ones are left out.
        output_dir: where outputs go; what was below a source folder is so below this one. None
            puts each output beside its input.
        recursive: look into folders, at any depth; else a folder stays in the list, as a failure.
    """
    places: list[tuple[Path, Path]] = []  # input, and where its output would be with its name
    for source in sources:
        if not (recursive and source.is_dir()):
            places.append((source, source if output_dir is None else output_dir / source.name))
            continue
        for found in sorted(_files_below(source, suffixes)):
            place = found if output_dir is None else output_dir / found.relative_to(source)
            places.append((found, place))
    places = list(dict.fromkeys(places))  # what is named twice is converted once
    outputs = [place.with_name(f"{place.stem}{ending}") for _, place in places]
    claims = Counter(outputs)
    return [
        Job(source, output if claims[output] == 1 else place.with_name(f"{place.name}{ending}"))
        for (source, place), output in zip(places, outputs, strict=True)
    ]


def _files_below(folder: Path, suffixes: Collection[str]) -> Iterator[Path]:
    for path in folder.rglob("*"):
        visible = not any(part.startswith(".") for part in path.relative_to(folder).parts)
        if visible and path.suffix.lower() in suffixes and path.is_file():
            yield path
