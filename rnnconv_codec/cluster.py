"""Conversions on a Dask cluster; needs the extra `dask`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import CancelledError
from typing import Any

from rnnconv_codec.batch import Conversion, Outcome, Task, convert
from rnnconv_codec.errors import ClusterError, MissingExtraError

_CONNECT_SECONDS = 30


class DaskCluster:
    """Runs tasks on the workers of a Dask scheduler.

    Files go to the workers and come back as bytes, so nothing needs to be shared but the version
    of this package, on the scheduler too, and the weights. Tasks of a worker that dies are done
    by another one: Dask keeps what it needs for that until this process has the result.
    """

    def __init__(self, address: str) -> None:
        self._address = address

    def run(self, conversion: Conversion, tasks: Iterator[Task]) -> Iterator[tuple[Task, Outcome]]:
        """See `batch.Runner`.

        Raises:
            MissingExtraError: Dask is not installed.
            ClusterError: there is no scheduler at the address.
        """
        try:
            from distributed import Client, as_completed
        except ImportError as error:
            raise MissingExtraError(
                "Dask is not installed: pip install 'rnnconv-codec[dask]'"
            ) from error
        # What it logs ends as the outcome of a task. Its configuration gives both a level.
        for name in ("distributed", "distributed.client"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            client = Client(self._address, timeout=_CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:
            raise ClusterError(f"no Dask scheduler at {self._address}: {error}") from error
        with client:
            running: dict[Any, Task] = {}
            completed = as_completed(loop=client.loop)
            while True:
                # Enough that no worker waits for the next file, also of those that come later.
                wanted = max(2, 2 * sum(client.nthreads().values()))
                while len(running) < wanted and (task := next(tasks, None)) is not None:
                    future = client.submit(convert, conversion, task.data, task.name, pure=False)
                    running[future] = task
                    completed.add(future)
                if not running:
                    return
                future = next(completed)
                yield running.pop(future), _outcome(future)


def _outcome(future: Any) -> Outcome:
    try:
        outcome = future.result()
    except CancelledError:
        return Outcome(error="the connection to the cluster was lost")
    except Exception as error:  # KilledWorker, and what a worker raises that has another version
        return Outcome(error=f"{type(error).__name__} on the cluster: {error}")
    assert isinstance(outcome, Outcome)
    return outcome
