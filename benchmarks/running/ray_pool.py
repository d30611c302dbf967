"""Episodes on Ray: actors on this machine, or on the cluster that is there already.

Without ``RAY_ADDRESS`` a cluster that runs on this machine (``ray start --head``) is joined; where
there is none, Ray is started here with as many CPUs as workers. A worker sends back rows or a
``NeonError``, never an exception of its own, so that nothing prints a remote traceback; an actor
or a node that dies is replaced, and what it was computing is computed again (``attempts.py``).
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from neon_sim.errors import NeonError, RunError, install_extra, require_package

from ..runs.folder import Row
from .attempts import Attempt, Attempts
from .worker import THREAD_VARIABLES, Work, Worker, portable

CONNECT_TIMEOUT_S = 10.0
PATIENCE_S = 30.0  # with a cluster that has no CPU free, before a note says so
OWN_LOG = "."  # Ray repeats every death in ten lines on stdout; ``Attempts`` says it in one


class RayPool:
    """Actors of one CPU each; on a busy cluster, those that have started do the work.

    Args:
        workers: how many actors.

    Raises:
        MissingPackageError: Ray is not installed. RunError: no cluster at ``RAY_ADDRESS``.
    """

    def __init__(self, workers: int) -> None:
        os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", OWN_LOG)
        self._ray: Any = require_package("ray", why="--executor ray", install=install_extra("ray"))
        self._is_ours = not self._ray.is_initialized()
        if self._is_ours:
            self._connect(workers)
        if not self._ray.cluster_resources().get("CPU"):
            raise RunError("the Ray cluster has no CPU; add a node with one: ray start --address=…")
        variables = {"env_vars": dict.fromkeys(THREAD_VARIABLES, "1")}
        self._make = self._ray.remote(num_cpus=1, runtime_env=variables)(RayWorker).remote
        self._idle: list[Any] = []
        self._greetings: dict[Any, Any] = {}  # of actors that have not started yet
        for _ in range(workers):
            self._hire()

    def _connect(self, workers: int) -> None:
        address = os.environ.get("RAY_ADDRESS", "")
        found = address if address and address != "local" else ""
        try:
            if found:
                _check_reachable(found)
            elif not address:
                found = _cluster_here()
            here: dict[str, Any] = {"num_cpus": workers, "include_dashboard": False}
            self._ray.init(
                address=found or "local",
                logging_level=logging.ERROR,
                log_to_driver=False,
                **({} if found else here),
            )
        except (ConnectionError, OSError, RuntimeError, ValueError) as error:
            where = f"RAY_ADDRESS={address}" if address else "Ray"
            raise RunError(
                f"{where} cannot be reached or started ({_one_line(error)}); check that "
                "`ray status` shows the cluster, unset RAY_ADDRESS to start Ray here, or leave "
                "--executor ray out"
            ) from error

    def _hire(self) -> None:
        actor = self._make(sys.path)
        self._greetings[actor.hello.remote()] = actor

    def run(self, jobs: Sequence[Work]) -> Iterator[Row]:
        """Compute every job; rows come when a whole job is done.

        Raises:
            NeonError: what a worker raised. RunError: workers die and no rows come.
        """
        attempts = Attempts(jobs, len(self._idle) + len(self._greetings))
        running: dict[Any, tuple[Any, Attempt]] = {}
        try:
            while attempts or running:
                while attempts and self._idle:
                    actor, attempt = self._idle.pop(), attempts.next()
                    assert attempt is not None
                    running[actor.compute.remote(attempt.work)] = actor, attempt
                for reference in self._wait([*running, *self._greetings], bool(running)):
                    if reference in self._greetings:
                        yield from self._greet(reference, attempts)
                    else:
                        actor, attempt = running.pop(reference)
                        yield from self._take(reference, actor, attempt, attempts)
        finally:
            for actor, _ in running.values():  # stopped in the middle: nobody waits for it
                self._dismiss(actor)

    def _wait(self, references: list[Any], is_busy: bool) -> list[Any]:
        """Those that are done, at least one."""
        timeout = None if is_busy else PATIENCE_S
        done, _ = self._ray.wait(references, num_returns=1, timeout=timeout)
        if not done:
            free = self._ray.available_resources().get("CPU", 0)
            print(
                f"note: waiting for the Ray cluster to start a worker ({free:g} of "
                f"{self._ray.cluster_resources().get('CPU', 0):g} CPUs are free)",
                file=sys.stderr,
            )
            done, _ = self._ray.wait(references, num_returns=1)
        return list(done)

    def _greet(self, reference: Any, attempts: Attempts) -> Iterator[Row]:
        actor = self._greetings.pop(reference)
        how = self._answer(reference)
        if isinstance(how, str):
            self._replace(actor)
            yield from attempts.died(None, how)
        else:
            self._idle.append(actor)

    def _take(
        self, reference: Any, actor: Any, attempt: Attempt, attempts: Attempts
    ) -> Iterator[Row]:
        answer = self._answer(reference)
        if isinstance(answer, str):
            self._replace(actor)
            yield from attempts.died(attempt, answer)
            return
        self._idle.append(actor)
        if isinstance(answer, NeonError):
            raise answer
        for row in answer:
            yield attempts.came(attempt, row)

    def _answer(self, reference: Any) -> Any:
        """What an actor sent; how it ended (str) where it died.

        Raises:
            RunError: Ray itself fails.
        """
        errors = self._ray.exceptions
        try:
            return self._ray.get(reference)
        except (
            errors.RayActorError,
            errors.WorkerCrashedError,
            errors.NodeDiedError,
            errors.ObjectLostError,
            errors.OutOfMemoryError,
        ) as error:
            return _one_line(error)
        except errors.RayError as error:
            raise RunError(
                f"Ray failed ({_one_line(error)}); finished episodes are kept: run again with "
                "--resume, or without --executor ray"
            ) from error

    def _replace(self, actor: Any) -> None:
        self._dismiss(actor)
        self._hire()

    def _dismiss(self, actor: Any) -> None:
        with suppress(Exception):  # it may be gone
            self._ray.kill(actor)

    def close(self) -> None:
        """Stop the actors, and Ray where this pool started or joined it."""
        for actor in [*self._idle, *self._greetings.values()]:
            self._dismiss(actor)
        self._idle, self._greetings = [], {}
        if self._is_ours:
            self._ray.shutdown()


def _cluster_here() -> str:
    """Address of the cluster that this machine belongs to; empty where it is gone or was none."""
    folder = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray"
    try:
        address = (folder / "ray_current_cluster").read_text().strip()
        _check_reachable(address)
    except OSError:
        return ""
    return address


def _check_reachable(address: str) -> None:
    """Knock at ``host:port`` (or ``ray://host:port``): Ray itself would wait for minutes.

    Raises:
        OSError: nobody answers.
    """
    host, _, port = address.rpartition("//")[2].rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S).close()


def _one_line(error: BaseException) -> str:
    """The sentence of a long message of Ray that says what happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if "Error:" in line or "dead because" in line]
    text = (told or lines or [type(error).__name__])[-1]
    return text if len(text) < 200 else text[:197] + "..."


class RayWorker:
    """What runs in a Ray actor.

    Args:
        path: where the driver finds modules, a user's own policy among them.
    """

    def __init__(self, path: Sequence[str] = ()) -> None:
        sys.path.extend(place for place in path if place not in sys.path)
        self._worker = Worker()

    def hello(self) -> int:
        """Say that it has started; its process id."""
        return os.getpid()

    def compute(self, work: Work) -> list[Row] | NeonError:
        """The rows of a job, or why there are none."""
        try:
            return list(self._worker.compute(work))
        except Exception as error:
            return portable(error)
