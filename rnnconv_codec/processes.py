"""Conversions in several processes of this machine."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from rnnconv_codec.batch import Conversion, Outcome, Task, convert

_DIED = "the process that converted it died, maybe for want of memory"

Finished = tuple[Task, Outcome]


class Processes:
    """Runs tasks in this many processes, each of which loads the model once."""

    def __init__(self, count: int) -> None:
        self._count = count

    def run(self, conversion: Conversion, tasks: Iterator[Task]) -> Iterator[Finished]:
        """See `batch.Runner`. A task that kills its process is a failure of that task only."""
        while suspects := (yield from self._run_until_broken(conversion, tasks, self._count)):
            # One of those that were running killed its process, and the executor ended with
            # it. Each gets one of its own, and the rest of the tasks a new executor.
            for suspect in suspects:
                alone = self._run_until_broken(conversion, iter([suspect]), 1)
                for killer in (yield from alone):
                    yield killer, Outcome(error=_DIED)

    def _run_until_broken(
        self, conversion: Conversion, tasks: Iterator[Task], count: int
    ) -> Generator[Finished, None, list[Task]]:
        """Run tasks until there are no more or a process dies; returns those it was running."""
        running: dict[Future[Outcome], Task] = {}
        lost: list[Task] = []
        with _executor(count) as executor:
            while not lost:
                # A few more than there are processes, so that none waits for the next file.
                while len(running) < 2 * count and (task := next(tasks, None)) is not None:
                    try:
                        future = executor.submit(convert, conversion, task.data, task.name)
                    except BrokenProcessPool:
                        lost.append(task)
                        break
                    running[future] = task
                if not running:
                    break
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    task = running.pop(future)
                    try:
                        outcome = future.result()
                    except BrokenProcessPool:
                        lost.append(task)
                    else:
                        yield task, outcome
        return [*lost, *running.values()] if lost else []


@contextmanager
def _executor(count: int) -> Iterator[ProcessPoolExecutor]:
    others = multiprocessing.active_children()
    # Not fork: torch's threads do not survive it.
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(count, mp_context=context, initializer=_leave_interrupts)
    try:
        yield executor
    except BaseException:
        # They have nothing to clean up: files are written by this process.
        executor.shutdown(wait=False, cancel_futures=True)
        ours = [child for child in multiprocessing.active_children() if child not in others]
        for child in ours:
            child.terminate()
        for child in ours:
            child.join()
        raise
    executor.shutdown()


def _leave_interrupts() -> None:
    """Ctrl-C reaches every process of a terminal; the first one ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
