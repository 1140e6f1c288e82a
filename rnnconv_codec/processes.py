"""Conversions in several processes of this machine.

Not `concurrent.futures`: its processes stay for ever when the first one is killed (each holds
both ends of the queue on which it waits), it does not say which task a process died of, and it may
wait for ever for the rest of a result whose process was ended while it sent it. Here each process
has a connection of its own, of which nobody else has an end: whichever side dies, the other knows.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import sys
from collections.abc import Generator, Iterator
from multiprocessing import connection, resource_tracker
from typing import Any

from rnnconv_codec.batch import Conversion, Outcome, Task, convert
from rnnconv_codec.memory import own_process

_DIED = "the process that converted it died, maybe for want of memory"

_Finished = tuple[Task, Outcome]


class Processes:
    """Runs tasks in this many processes, each of which loads the model once."""

    def __init__(self, count: int) -> None:
        self._count = count

    def run(self, conversion: Conversion, tasks: Iterator[Task]) -> Iterator[_Finished]:
        """See `batch.Runner`. A task that kills its process is a failure of that task only."""
        while lost := (yield from _run_until_one_dies(conversion, tasks, self._count)):
            # They may have died of what the others needed, so each is tried once more, alone.
            for task in lost:
                if (yield from _run_until_one_dies(conversion, iter([task]), 1)):
                    yield task, Outcome(error=_DIED)


def _run_until_one_dies(
    conversion: Conversion, tasks: Iterator[Task], count: int
) -> Generator[_Finished, None, list[Task]]:
    """Run tasks until there are no more or a process dies; returns those that died with one."""
    running: dict[connection.Connection, Task] = {}
    finished: list[_Finished] = []
    lost: list[Task] = []
    with contextlib.closing(_Workers(conversion)) as workers:
        while True:
            while not lost and len(running) < count and (task := next(tasks, None)) is not None:
                worker = workers.idle()
                try:
                    worker.send((task.data, task.name))
                except OSError:
                    lost.append(task)
                else:
                    running[worker] = task
            # Only now, so that nobody waits while a result is being written.
            yield from finished
            finished.clear()
            if not running:
                return lost
            for ready in connection.wait(list(running)):
                assert isinstance(ready, connection.Connection)
                task = running.pop(ready)
                try:
                    finished.append((task, ready.recv()))
                except (EOFError, OSError):
                    lost.append(task)
                else:
                    workers.give_back(ready)


class _Workers:
    """Processes that convert what is sent to them and send back the outcome."""

    def __init__(self, conversion: Conversion) -> None:
        self._conversion = conversion
        # Not fork: torch's threads do not survive it.
        self._context = multiprocessing.get_context("spawn")
        self._processes: list[Any] = []
        self._idle: list[connection.Connection] = []

    def idle(self) -> connection.Connection:
        """The connection to a process that waits for a task, to a new one if none does."""
        if self._idle:
            return self._idle.pop()
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_work, args=(self._conversion, theirs), daemon=True)
        with _interrupts_later():
            process.start()
            self._processes.append(process)
        theirs.close()
        return ours

    def give_back(self, worker: connection.Connection) -> None:
        """Say that the process of this connection has sent its outcome."""
        self._idle.append(worker)

    def close(self) -> None:
        """End them all, whatever they are doing; none is left when this returns."""
        # They have nothing to clean up: files are written by this process.
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.join()


def _work(conversion: Conversion, tasks: connection.Connection) -> None:
    """What a process does until the first one ends it, or is gone."""
    own_process()
    # Ctrl-C reaches every process of a terminal; the first one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _INTERRUPTS)
    with contextlib.suppress(EOFError, OSError):
        while True:
            data, name = tasks.recv()
            tasks.send(convert(conversion, data, name))


_INTERRUPTS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def _interrupts_later() -> Iterator[None]:
    """Interrupts of this block come after it, and those of the process that it starts in `_work`.

    Else one might come when the process is there and nobody knows it yet, or when it is not yet
    ready to ignore it.
    """
    if sys.platform == "win32":
        yield
        return
    # What the first start of a process starts beside it; would lift the mask.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _INTERRUPTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
