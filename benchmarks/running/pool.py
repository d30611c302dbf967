"""Who computes the episodes: this process, a pool of processes, or Ray.

All three take the same list of jobs and give the same rows. Each process of the pool has a
pipe of its own, so a worker that dies takes nothing with it but the episodes it was in; another
process computes these again (``attempts.py``).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol, cast

from neon_sim.errors import ConfigError, unknown_name

from ..runs.folder import Row
from .attempts import Attempt, Attempts
from .worker import THREAD_VARIABLES, Work, Worker, portable

EXECUTORS = ("local", "ray")


class Pool(Protocol):
    """Computes jobs; rows come in any order."""

    def run(self, jobs: Sequence[Work]) -> Iterator[Row]:
        """Compute every job."""
        ...

    def close(self) -> None:
        """Stop at once and free everything."""
        ...


def make_pool(executor: str, workers: int) -> Pool:
    """The pool of an executor.

    Raises:
        ConfigError: no such executor, or no workers. MissingPackageError: no Ray.
        RunError: no Ray cluster where ``RAY_ADDRESS`` says.
    """
    if workers < 1:
        raise ConfigError(f"--workers must be at least 1 (got {workers})")
    if executor not in EXECUTORS:
        raise unknown_name("executor", executor, EXECUTORS)
    if executor == "ray":
        from .ray_pool import RayPool

        return RayPool(workers)
    return InProcess() if workers == 1 else ProcessPool(workers)


class InProcess:
    """Everything in this process."""

    def __init__(self) -> None:
        self._worker = Worker()

    def run(self, jobs: Sequence[Work]) -> Iterator[Row]:
        """Compute every job, one after the other."""
        for job in jobs:
            yield from self._worker.compute(job)

    def close(self) -> None:
        """Free the environments."""
        self._worker.close()


@contextmanager
def single_threads() -> Iterator[None]:
    """Processes that are started here compute with one thread each."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


class ProcessPool:
    """Spawned processes that ask for a job when they are idle; one that dies is replaced."""

    def __init__(self, workers: int) -> None:
        self._processes: dict[Connection, Any] = {}
        for _ in range(workers):
            self._hire()

    def _hire(self) -> Connection:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs,), daemon=True)
        with single_threads():
            process.start()
        theirs.close()
        self._processes[ours] = process
        return ours

    def run(self, jobs: Sequence[Work]) -> Iterator[Row]:
        """Compute every job.

        Raises:
            NeonError: what a worker raised. RunError: workers die and no rows come.
        """
        attempts = Attempts(jobs, len(self._processes))
        idle, busy = list(self._processes), dict[Connection, Attempt]()
        while attempts or busy:
            while attempts and idle:
                pipe, attempt = idle.pop(0), attempts.next()
                assert attempt is not None
                busy[pipe] = attempt
                with suppress(OSError):  # it is dead: the end of its pipe says so below
                    pipe.send(attempt.work)
            for pipe in cast(list[Connection], wait(list(busy))):
                kind, value = self._receive(pipe)
                if kind == "row":
                    yield attempts.came(busy[pipe], value)
                elif kind == "error":
                    raise value
                elif kind == "done":
                    del busy[pipe]
                    idle.append(pipe)
                else:
                    yield from attempts.died(busy.pop(pipe), self._bury(pipe))
                    idle.append(self._hire())

    def _receive(self, pipe: Connection) -> tuple[str, Any]:
        try:
            kind, value = pipe.recv()
            return kind, value
        except (EOFError, OSError):
            return "died", None

    def _bury(self, pipe: Connection) -> str:
        """Forget a worker that died; how it ended."""
        process = self._processes.pop(pipe)
        pipe.close()
        process.join(5)
        return how_ended(process.exitcode)

    def close(self) -> None:
        """Stop every worker."""
        for pipe, process in self._processes.items():
            with suppress(OSError):
                pipe.send(None)
            pipe.close()
            process.join(0.5)
            if process.is_alive():
                process.terminate()
                process.join(5)
        self._processes = {}


def how_ended(code: int | None) -> str:
    """An exit code in words."""
    if code is None or code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"{name}, which often means out of memory" if name == "SIGKILL" else name


def serve(pipe: Connection) -> None:
    """A worker process: jobs in, rows out, until the other end of the pipe is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    worker = Worker()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while (work := pipe.recv()) is not None:
            try:
                for row in worker.compute(work):
                    pipe.send(("row", row))
                pipe.send(("done", None))
            except (BrokenPipeError, ConnectionResetError):
                break
            except Exception as error:
                pipe.send(("error", portable(error)))
    worker.close()
