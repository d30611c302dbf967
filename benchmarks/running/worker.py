"""Plays episodes: B environments side by side in replan rounds, one batched look each.

A round: every environment that is due is observed, the policy answers all of them in one
call, then each environment goes on by ``replan_steps`` control steps, or ends and makes
room for the next episode. Nothing that decides an episode depends on which others share
its batch, so any number of environments and workers gives the same rows.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium

import neon_sim  # noqa: F401  (registers the Gymnasium ids)
from neon_sim import errors
from neon_sim.chunks import ChunkExecutor
from neon_sim.clock import CHUNK_STEPS
from neon_sim.errors import NeonError, PolicyError, RunError
from neon_sim.observation.batch import ClipBatch, observe_row, stack_observations
from neon_sim.registry import task_entry
from neon_sim.robots import body_arguments

from ..runs.folder import Row
from ..runs.scripted import Scripted
from .episode import Episode, Job, OnStep, error_text
from .players import load_player
from .trial import Trial, check_chunk, check_chunks, check_shape, try_out

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
MAX_POLICIES = 4  # kept loaded by a worker

OnEnd = Callable[[Any, Row], None]
Work = Job | Trial


class Worker:
    """Plays jobs one after the other; keeps environments and policies between them."""

    def __init__(self) -> None:
        self._envs: list[Any] = []
        self._env_key: tuple[Any, ...] = ()
        self._players: OrderedDict[tuple[Any, ...], Any] = OrderedDict()

    def environments(self, job: Work, count: int) -> list[Any]:
        """``count`` environments of the job's task, made when they are first needed."""
        options = job.settings.options
        body = body_arguments(options.mode, options.lower)
        key = (job.cell.task, options.robot, options.start_noise, *body.items())
        if key != self._env_key:
            self.close()
            self._env_key = key
        while len(self._envs) < count:
            env = gymnasium.make(
                task_entry(job.cell.task).env_id,
                disable_env_checker=True,
                cameras=(),
                robot=options.robot,
                start_noise=options.start_noise,
                **body,
            )
            self._envs.append(env)
        return list(self._envs[:count])

    def player(self, job: Job) -> Any:
        """The policy of the job, loaded when it is first needed."""
        key = (job.cell, repr(job.spec))
        if key not in self._players:
            self._players[key] = load_player(job.spec, job.cell)
            if len(self._players) > MAX_POLICIES:
                self._players.popitem(last=False)
        self._players.move_to_end(key)
        return self._players[key]

    def compute(self, work: Work) -> Iterator[Row]:
        """Play a job; or try out a policy, which gives no rows.

        Raises:
            NeonError: see ``play`` and ``try_out``.
        """
        if isinstance(work, Trial):
            try_out(work, self.environments(work, 1)[0])
            return
        yield from self.play(work)

    def play(
        self, job: Job, on_end: OnEnd | None = None, on_step: OnStep | None = None
    ) -> Iterator[Row]:
        """Play a job; rows come as episodes end.

        Args:
            job: what to play.
            on_end: called with the environment and the row at the end of each episode,
                before the environment is reset.
            on_step: called with the environment after each control step.

        Raises:
            NeonError: the policy or the environment cannot be made.
        """
        player = self.player(job)
        is_scripted = job.spec.kind == "scripted"
        own = player.replan_steps if is_scripted else job.spec.config.replan_steps
        replan = job.spec.replan_steps or own
        count = min(max(job.settings.batch, 1), len(job.episodes))
        if not is_scripted:
            player.reset(count)
        waiting, free = deque(job.episodes), self.environments(job, count)
        running: list[Episode] = []
        while waiting or running:
            while waiting and free:
                running.append(_start(free.pop(), job, waiting.popleft(), replan, on_step))
            think(player, [episode for episode in running if not episode.over], job)
            for episode in running:
                if not episode.over:
                    episode.advance(replan)
                if episode.over:
                    row = episode.row()
                    if on_end is not None:
                        on_end(episode.env, row)
                    free.append(episode.env)
                    yield row
            running = [episode for episode in running if not episode.over]

    def close(self) -> None:
        """Free the environments."""
        for env in self._envs:
            env.close()
        self._envs = []


def portable(error: Exception) -> NeonError:
    """An error of a worker in a form that survives the way to another process."""
    if not isinstance(error, NeonError):
        return RunError(f"a worker failed: {error_text(error)}")
    kind = getattr(errors, type(error).__name__, RunError)
    return kind(str(error)) if issubclass(kind, NeonError) else RunError(str(error))


def _start(env: Any, job: Job, index: int, replan: int, on_step: OnStep | None) -> Episode:
    executor = ChunkExecutor(replan, job.latency_steps, job.settings.options.blending)
    episode = Episode(env, job, index, executor, on_step)
    episode.start()
    return episode


def think(player: Any, episodes: list[Episode], job: Job) -> None:
    """One look: hand every episode its next chunk, or end it with the error it caused."""
    if job.spec.kind == "scripted":
        _think_scripted(player, episodes, job)
        return
    rows: list[ClipBatch] = []
    seeing: list[Episode] = []
    for episode in episodes:
        began = time.perf_counter()
        try:
            rows.append(observe_row(episode.core, player.clip, player.needs))
            seeing.append(episode)
        except Exception as error:
            episode.fail(error)
        episode.spend("observe_s", time.perf_counter() - began)
    if seeing:
        _ask(player, seeing, rows)


def _think_scripted(player: Scripted, episodes: list[Episode], job: Job) -> None:
    for episode in episodes:
        began = time.perf_counter()
        try:
            chunk = player.chunk(episode.core, job.cell.task, job.settings.seed, episode.index)
            if chunk is not None:
                shape = (CHUNK_STEPS, episode.core.action_dim)
                episode.executor.push(check_chunk(check_shape(chunk, shape)))
        except Exception as error:
            episode.fail(error)
        episode.spend("think_s", time.perf_counter() - began)
        episode.looks += 1


def _ask(player: Any, episodes: list[Episode], rows: list[ClipBatch]) -> None:
    """One batched call; when it raises, each episode is asked alone to find whose fault it is."""
    began = time.perf_counter()
    try:
        answer = player.act(stack_observations(rows))
        chunks = check_chunks(answer, len(rows), episodes[0].core.action_dim)
    except (Exception, SystemExit) as error:
        if len(episodes) == 1:
            episodes[0].fail(error)
            return
        for episode, row in zip(episodes, rows, strict=True):
            _ask(player, [episode], [row])
        return
    share = (time.perf_counter() - began) / len(episodes)
    for episode, chunk in zip(episodes, chunks, strict=True):
        episode.spend("think_s", share)
        episode.looks += 1
        try:
            episode.executor.push(check_chunk(chunk))
        except PolicyError as error:
            episode.fail(error)
