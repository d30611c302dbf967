"""The certificate of a sound task: nothing but what is heard tells the cue.

Twins are played: one seed, one episode, one tape of actions, every value of the cue. Over the
whole episode every observation but the sound must be the same to the bit, and the sound must not.
What was done may fit one cue at most, so that a policy that hears nothing is right as often as
luck is, ``1 / len(cues())``; success of a muted policy is measured beside it. A clause that does
not hold names where: episode, tape, control step, key.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np

from neon_sim.clock import CHUNK_STEPS, TICKS_PER_CAMERA
from neon_sim.registry import task_entry
from neon_sim.seeding import keyed_rng

from ..analysis.statistics import binomial_range, uniform_p
from ..analysis.tables import percent, span
from ..runs.folder import Row
from .common import (
    clause,
    columns_of,
    enough_clause,
    expert_clause,
    incomplete,
    provenance,
    raised_clauses,
    rate_of,
    verdict_of,
)

MUTED = "muted"
SOUND_HEADS = (MUTED,)
SOUND_ENTRIES = ("expert", MUTED, "hold", "random")
NUM_EPISODES = 2  # whose twins are played
NUM_DRAWS = 200  # episodes whose cue is looked at
MIN_EVEN_P = 0.001
MAX_FAULTS = 8  # named in a certificate
SILENCE_DB = -200.0


@dataclass
class SoundCheck:
    """What came of playing every cue; see ``check_sound``.

    Attributes:
        episodes: whose twins were played. tapes: names of the tapes of actions.
        rollouts: episodes played, all tapes and cues. steps: control steps of all of them.
        keys: observations that were compared. cues: how many there are (most in an episode).
        chance: mean of 1 / cues. even_p: p of the draws if every cue is as likely (chi-square).
        pairs: of cues. heard: pairs whose sound differs under some tape.
        quietest_db: dB of full scale, of the pair that differs least: RMS of its loudest 20 ms.
        faults: what does not hold, and where; the first few.
    """

    episodes: int = 0
    tapes: list[str] = field(default_factory=list)
    rollouts: int = 0
    steps: int = 0
    keys: list[str] = field(default_factory=list)
    cues: int = 0
    chance: float = 1.0
    even_p: float = 1.0
    pairs: int = 0
    heard: int = 0
    quietest_db: float = 0.0
    faults: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """No fault, and every pair is told apart by ear."""
        return not self.faults and 0 < self.pairs == self.heard

    def fault(self, text: str) -> None:
        """Keep what does not hold."""
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(text)


@dataclass(frozen=True)
class Film:
    """One cue under one tape.

    Attributes:
        seen: by control step (0 is the start), digest by key of every observation but sound.
        heard: (N, C, 320) float32, a control step a row.
        fitted: index of each cue that what was done fits -> first control step at which it did.
        wrong_at: first control step at which ``is_success`` is not ``fits`` of the cue, or None.
    """

    seen: list[dict[str, bytes]]
    heard: np.ndarray
    fitted: dict[int, int]
    wrong_at: int | None


class Twins:
    """Plays one episode of a task under tapes of actions, for any cue.

    Args:
        task: registry name. seed: run seed. episode: its index.
        env: of the task, with its microphones.
    """

    def __init__(self, env: Any, task: str, seed: int, episode: int) -> None:
        self._env, self._task, self._seed, self._episode = env, task, seed, episode
        self.core: Any = env.unwrapped
        self._reset({"episode": episode})
        self.latent = dict(self.core.latent)
        self.cues: list[Any] = list(self.core.cues())
        self.cue: Any = self.latent.get(self.core.CUE)
        # what a policy may be shown; "view" is for people
        self._cameras = sorted({"front", *self.core.VIEWS} - {"view"})

    def _reset(self, options: dict[str, Any]) -> None:
        self._env.reset(seed=self._seed, options=options)

    def start(self, cue: Any) -> None:
        """Begin the twin in which ``cue`` sounds."""
        latent = {**self.latent, self.core.CUE: cue}
        self._reset({"episode": self._episode, "latent": latent})

    def expert_tape(self, cue: Any) -> np.ndarray:
        """(N, A) actions of the expert, who is told the cue, to the end of the episode."""
        self.start(cue)
        actions, over = [], False
        for _ in range(self.core.EPISODE_STEPS):
            if not over:
                actions.append(np.array(self.core.expert_action()))
                _, terminated, _, _ = self.core.advance(actions[-1])
                over = bool(terminated)
            else:
                actions.append(actions[-1])
        return np.stack(actions)

    def random_tape(self) -> np.ndarray:
        """(N, A) of a random target every 0.32 s."""
        rng = keyed_rng("certify", self._task, self._seed, self._episode)
        count = -(-self.core.EPISODE_STEPS // CHUNK_STEPS)
        targets = rng.uniform(-1.0, 1.0, (count, self.core.action_dim)).astype(np.float32)
        return np.repeat(targets, CHUNK_STEPS, axis=0)[: self.core.EPISODE_STEPS]

    def hold_tape(self) -> np.ndarray:
        """(N, A) of never moving."""
        self.start(self.cue)
        return np.repeat(self.core.hold_action()[None], self.core.EPISODE_STEPS, axis=0)

    def film(self, cue: Any, tape: np.ndarray) -> Film:
        """Play a tape to its end, whatever the task says, and keep what could be noticed."""
        self.start(cue)
        core, seen, heard = self.core, [], []
        fitted: dict[int, int] = {}
        wrong_at = None
        for step in range(len(tape) + 1):
            if step:
                core.advance(tape[step - 1], past_end=True)
                heard.append(core.sound.newest())
            seen.append(self._look())
            for index, other in enumerate(self.cues):
                if core.fits(other):
                    fitted.setdefault(index, step)
            if wrong_at is None and bool(core.is_success()) != bool(core.fits(cue)):
                wrong_at = step
        return Film(seen, np.stack(heard), fitted, wrong_at)

    def _look(self) -> dict[str, bytes]:
        """Digests of everything a policy could be shown now but for the sound."""
        core = self.core
        found = {
            "agent_pos": core.agent_pos(),
            "environment_state": core.environment_state(),
            "text": np.frombuffer(core.task_description.encode(), np.uint8),
        }
        if core.tick % TICKS_PER_CAMERA == 0:
            for name in self._cameras:
                found[f"pixels.{name}"] = core.frame(name, core.tick)
        return {key: hashlib.sha256(value.tobytes()).digest() for key, value in found.items()}


def check_sound(
    task: str, seed: int, episodes: int = NUM_EPISODES, draws: int = NUM_DRAWS
) -> SoundCheck:
    """Play every cue of a few episodes under the same actions and compare; count the cues drawn.

    Args:
        task: registry name. seed: run seed. episodes: whose twins are played.
        draws: episodes whose cue is looked at.
    """
    env = gymnasium.make(task_entry(task).env_id, disable_env_checker=True, cameras=())
    check = SoundCheck(episodes=episodes)
    try:
        if _count_cues(env.unwrapped, check, seed, draws):
            for episode in range(episodes):
                _check_episode(Twins(env, task, seed, episode), check, episode)
    finally:
        env.close()
    return check


def _count_cues(core: Any, check: SoundCheck, seed: int, draws: int) -> bool:
    """Whether every cue is drawn, and as often as any other: chance is one in so many then.

    False when a cue is none of those that the task names, so that no twin could be played.
    """
    drawn: list[int] = []
    sizes: list[int] = []
    for episode in range(draws):
        core.reset(seed=seed, options={"episode": episode})
        cues, cue = list(core.cues()), core.latent.get(core.CUE)
        if cue not in cues or len(cues) < 2:
            check.fault(f"episode {episode}: latent[{core.CUE!r}] = {cue!r} of cues() = {cues}")
            return False
        drawn.append(cues.index(cue))
        sizes.append(len(cues))
    check.cues = max(sizes)
    check.chance = float(np.mean([1.0 / size for size in sizes]))
    check.even_p = uniform_p(drawn, sizes)
    if check.even_p < MIN_EVEN_P:
        counts = np.bincount(drawn, minlength=check.cues).tolist()
        check.fault(f"cues are not drawn evenly: {counts} in {len(drawn)} episodes")
    return True


def _check_episode(twins: Twins, check: SoundCheck, episode: int) -> None:
    loudest: dict[tuple[int, int], float] = {}
    pairs = list(itertools.combinations(range(len(twins.cues)), 2))
    for name, tape in _tapes(twins, loudest, pairs):
        films = [twins.film(cue, tape) for cue in twins.cues]
        where = f"episode {episode}, tape {name}"
        _compare_seen(films, twins.cues, check, where)
        _check_fits(films, twins.cues, check, where)
        for pair in pairs:
            level = difference_db(films[pair[0]].heard, films[pair[1]].heard)
            loudest[pair] = max(loudest.get(pair, SILENCE_DB), level)
        if name not in check.tapes:
            check.tapes.append(name)
        check.rollouts += len(films)
        check.steps += len(films) * len(tape)
        check.keys = sorted({*check.keys, *films[0].seen[0]})
    check.pairs += len(pairs)
    for pair, level in loudest.items():
        if level > SILENCE_DB:
            check.heard += 1
        else:
            a, b = (twins.cues[index] for index in pair)
            check.fault(f"episode {episode}: {a!r} and {b!r} sound the same under every tape")
    check.quietest_db = min([check.quietest_db, *loudest.values()])


def _tapes(
    twins: Twins, loudest: dict[tuple[int, int], float], pairs: Sequence[tuple[int, int]]
) -> Iterator[tuple[str, np.ndarray]]:
    """The expert for the true cue and for another, random, hold; then, as long as two cues have
    not been told apart (only who shakes a box hears it), the expert for them."""
    true = twins.cues.index(twins.cue) if twins.cue in twins.cues else 0
    played = {true, (true + 1) % len(twins.cues)}
    yield "expert", twins.expert_tape(twins.cues[true])
    yield "expert of another cue", twins.expert_tape(twins.cues[(true + 1) % len(twins.cues)])
    yield "random", twins.random_tape()
    yield "hold", twins.hold_tape()
    for pair in pairs:
        for index in pair:
            if loudest[pair] <= SILENCE_DB and index not in played:
                played.add(index)
                yield "expert of another cue", twins.expert_tape(twins.cues[index])


def _compare_seen(
    films: Sequence[Film], cues: Sequence[Any], check: SoundCheck, where: str
) -> None:
    """Every observation but the sound: the same as under the first cue."""
    for film, cue in zip(films[1:], cues[1:], strict=True):
        found = first_difference(films[0].seen, film.seen)
        if found is not None:
            step, key = found
            check.fault(f"{where}, step {step}: {key} differs between {cues[0]!r} and {cue!r}")


def _check_fits(films: Sequence[Film], cues: Sequence[Any], check: SoundCheck, where: str) -> None:
    """One irrevocable choice: what was done fits one cue at most, and success is that."""
    for film, cue in zip(films, cues, strict=True):
        if len(film.fitted) > 1:
            fitted = ", ".join(f"{cues[i]!r} (step {step})" for i, step in film.fitted.items())
            check.fault(f"{where}, cue {cue!r}: what was done fits several cues: {fitted}")
        if film.wrong_at is not None:
            check.fault(
                f"{where}, step {film.wrong_at}: is_success is not fits({cue!r}) though it sounds"
            )


def first_difference(
    a: Sequence[dict[str, bytes]], b: Sequence[dict[str, bytes]]
) -> tuple[int, str] | None:
    """Control step and key at which two films look different for the first time."""
    for step, (left, right) in enumerate(zip(a, b, strict=True)):
        for key in left:
            if left[key] != right.get(key):
                return step, key
    return None


def difference_db(a: np.ndarray, b: np.ndarray) -> float:
    """Loudest 20 ms of the difference of two sounds (N, C, 320): RMS, dB of full scale."""
    power = np.square(a.astype(np.float64) - b).mean(axis=(1, 2)).max()
    return float(10.0 * np.log10(power)) if power else SILENCE_DB


# ---- the certificate --------------------------------------------------------------------


def sound_certificate(
    rows: Sequence[Row], task: str, policy: str, seed: int, skipped: dict[str, str]
) -> dict[str, Any]:
    """The certificate of a sound task as JSON values; arguments as of ``certificate``."""
    name, columns = columns_of(rows, policy, SOUND_HEADS)
    entries = {
        word: rate_of(rows, task, columns[word], skipped.get(word)) for word in SOUND_ENTRIES
    }
    check = check_sound(task, seed)
    body: dict[str, Any] = {
        **provenance(task, name, seed),
        "entries": entries,
        "sound": {**check.__dict__, "holds": check.holds},
        "chance_interval": _chance_interval(entries[MUTED], check.chance),
        "history_gain": None,
        "twins": None,
    }
    return {**body, **judge_sound(body)}


def _chance_interval(entry: dict[str, Any], chance: float) -> list[float] | None:
    """Where 95 % of pure guessers end on as many episodes (training seeds share them)."""
    if entry.get("skipped"):
        return None
    episodes = entry["n"] // max(len(entry["train_seeds"]), 1)
    return list(binomial_range(episodes, chance))


def judge_sound(body: dict[str, Any]) -> dict[str, Any]:
    """``status``, ``reasons`` and ``verdict``, as of ``certify.judge``."""
    sound, entries = body["sound"], body["entries"]
    checks = [*raised_clauses(entries), _same(sound), _heard(sound)]
    lacking = [word for word in SOUND_ENTRIES if entries[word].get("skipped")]
    if "expert" not in lacking:
        checks.insert(0, expert_clause(entries))
    if MUTED not in lacking:
        checks.append(_muted(body))
    if not lacking:
        checks.insert(0, enough_clause(entries))
    judged = verdict_of("sound: only what is heard tells", checks)
    if judged["status"] == "refused" or not lacking:
        return judged
    found = incomplete(lacking)
    return {**found, "verdict": "; ".join([found["verdict"], *judged["reasons"]])}


def _same(sound: dict[str, Any]) -> tuple[bool, str]:
    if sound["faults"]:
        return False, "; ".join(sound["faults"])
    return True, (
        f"{sound['rollouts']} twins ({', '.join(sound['tapes'])}) the same to the bit but for "
        f"their sound, and what was done fits one cue at most"
    )


def _heard(sound: dict[str, Any]) -> tuple[bool, str]:
    text = f"{sound['heard']} of {sound['pairs']} pairs of cues sound different"
    if 0 < sound["pairs"] == sound["heard"]:
        text += f" (the nearest by {sound['quietest_db']:.0f} dB of full scale)"
    return clause(0 < sound["pairs"] == sound["heard"], text)


def _muted(body: dict[str, Any]) -> tuple[bool, str]:
    """Not above what luck gives; below it is a policy that fails at the job itself."""
    rate, (low, high) = body["entries"][MUTED]["rate"], body["chance_interval"]
    place = "inside" if low <= rate <= high else "below" if rate < low else "not above"
    chance = f"chance, {percent(body['sound']['chance'])} % {span((low, high))}"
    return clause(rate <= high, f"muted {percent(rate)} % is {place} {chance}")
