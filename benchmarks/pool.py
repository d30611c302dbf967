"""Who computes the episodes: this process, a pool of processes, or Ray.

All three take the same list of jobs and give the same rows. Each process of the pool has a
pipe of its own, so a worker that dies takes nothing with it but the episodes it was in.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol, cast

from neon_sim import errors
from neon_sim.errors import ConfigError, NeonError, RunError, install_extra, require_package

from .episode import error_text
from .results import Row
from .worker import Work, Worker

EXECUTORS = ("local", "ray")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


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
    """
    if workers < 1:
        raise ConfigError(f"--workers must be at least 1 (got {workers})")
    if executor not in EXECUTORS:
        raise errors.unknown_name("executor", executor, EXECUTORS)
    if executor == "ray":
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
    """Spawned processes that ask for a job when they are idle."""

    def __init__(self, workers: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._processes: dict[Connection, Any] = {}
        with single_threads():
            for _ in range(workers):
                ours, theirs = context.Pipe()
                process = context.Process(target=serve, args=(theirs,), daemon=True)
                process.start()
                theirs.close()
                self._processes[ours] = process

    def run(self, jobs: Sequence[Work]) -> Iterator[Row]:
        """Compute every job.

        Raises:
            NeonError: what a worker raised. RunError: a worker died.
        """
        waiting = deque(jobs)
        busy: set[Connection] = set()
        for pipe in self._processes:
            self._give(pipe, waiting, busy)
        while busy:
            for pipe in cast(list[Connection], wait(list(busy))):
                kind, value = self._receive(pipe)
                if kind == "row":
                    yield value
                elif kind == "error":
                    raise value
                else:
                    busy.discard(pipe)
                    self._give(pipe, waiting, busy)

    def _give(self, pipe: Connection, waiting: deque[Work], busy: set[Connection]) -> None:
        if not waiting:
            return
        try:
            pipe.send(waiting.popleft())
        except OSError as error:
            raise self._died(pipe) from error
        busy.add(pipe)

    def _receive(self, pipe: Connection) -> tuple[str, Any]:
        try:
            return pipe.recv()
        except (EOFError, OSError) as error:
            raise self._died(pipe) from error

    def _died(self, pipe: Connection) -> RunError:
        process = self._processes[pipe]
        process.join(5)
        return RunError(
            f"a worker process died (exit code {process.exitcode}; -9 often means out of "
            "memory); finished episodes are kept: run again with --resume, and with fewer "
            "--workers or a smaller --batch if it happens again"
        )

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


def serve(pipe: Connection) -> None:
    """A worker process: jobs in, rows out, until the other end of the pipe is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    worker = Worker()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while (job := pipe.recv()) is not None:
            try:
                for row in worker.compute(job):
                    pipe.send(("row", row))
                pipe.send(("done", None))
            except NeonError as error:
                pipe.send(("error", portable(error)))
            except (BrokenPipeError, ConnectionResetError):
                break
            except Exception as error:
                pipe.send(("error", RunError(f"a worker failed: {error_text(error)}")))
    worker.close()


def portable(error: NeonError) -> NeonError:
    """The same error in a form that survives the pipe."""
    kind = getattr(errors, type(error).__name__, RunError)
    return kind(str(error)) if issubclass(kind, NeonError) else RunError(str(error))


class RayPool:
    """Ray actors, on this machine or on the cluster that ``RAY_ADDRESS`` names.

    Raises:
        MissingPackageError: Ray is not installed.
    """

    def __init__(self, workers: int) -> None:
        self._ray: Any = require_package("ray", why="--executor ray", install=install_extra("ray"))
        if not self._ray.is_initialized():
            self._ray.init(num_cpus=None if os.environ.get("RAY_ADDRESS") else workers)
        variables = {"env_vars": dict.fromkeys(THREAD_VARIABLES, "1")}
        actor = self._ray.remote(num_cpus=1, runtime_env=variables)(RayWorker)
        self._actors = [actor.remote() for _ in range(workers)]

    def run(self, jobs: Sequence[Work]) -> Iterator[Row]:
        """Compute every job; rows come when a whole job is done."""
        waiting = deque(jobs)
        running: dict[Any, Any] = {}
        for actor in self._actors:
            if waiting:
                running[actor.play.remote(waiting.popleft())] = actor
        while running:
            done, _ = self._ray.wait(list(running), num_returns=1)
            actor = running.pop(done[0])
            yield from self._ray.get(done[0])
            if waiting:
                running[actor.play.remote(waiting.popleft())] = actor

    def close(self) -> None:
        """Stop the actors."""
        for actor in self._actors:
            self._ray.kill(actor)
        self._actors = []


class RayWorker:
    """What runs in a Ray actor."""

    def __init__(self) -> None:
        self._worker = Worker()

    def play(self, job: Work) -> list[Row]:
        """Compute one job."""
        return list(self._worker.compute(job))
