"""One demonstration: who moves the arm, and what the expert would have done instead.

Where only the expert moves, the arm's own position gives the answer away and a policy
learns to believe its proprioception (loss fine, success 8 % in a trial). So most episodes
are led astray, towards places where the expert would be in *other* episodes, and every
row carries the expert's label for the state it is in (Ross et al. 2011, DAgger; Laskey
et al. 2017, DART).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from neon_sim.audio.pcm import to_pcm
from neon_sim.clock import CONTROL_DT_S, CONTROL_HZ, TICKS_PER_CAMERA
from neon_sim.demonstrations.settings import CollectConfig, MixConfig, PerturbConfig
from neon_sim.demonstrations.shards import EpisodeIdentity, RecordedEpisode
from neon_sim.demonstrations.video_io import ROWS_PER_FRAME
from neon_sim.observation.clips import FLOW_SIDE, ClipConfig, clip_spacing
from neon_sim.registry import TaskEntry
from neon_sim.seeding import episode_rng, keyed_rng
from neon_sim.simulation.world import World

BANK_EPISODES, BANK_POSES = 24, 6
BANK_SEED = 900_000  # added to the run's seed
CAMERA = "front"


@dataclass(frozen=True)
class Bank:
    """What the expert does in other episodes of the task.

    Attributes:
        poses: (144, A) float32 actions it asked for, the decoys of detours.
        steps: control steps half-way between its median episode and the time limit: how long
            an episode may be disturbed and still leave time to mend it.
    """

    poses: np.ndarray
    steps: int


class Mover(Protocol):
    """Moves the arm in one episode. ``source`` is what the dataset calls it."""

    source: str

    def act(self, env: Any, label: np.ndarray) -> np.ndarray:
        """The action to execute (A,) in [-1, 1], given the expert's ``label`` (A,)."""


class Clean:
    """The expert itself."""

    source = "expert"

    def act(self, env: Any, label: np.ndarray) -> np.ndarray:
        """The label."""
        del env
        return label


class Wander:
    """A stretch of time in which the arm is sent somewhere else, or holds still.

    Args:
        rng: the episode's. config: sizes. bank: where decoys come from.
    """

    def __init__(self, rng: np.random.Generator, config: PerturbConfig, bank: Bank) -> None:
        self.rng, self.config, self.bank = rng, config, bank

    def length(self) -> int:
        """Control steps of a new stretch."""
        seconds = self.rng.uniform(self.config.detour_min_s, self.config.detour_max_s)
        return max(1, round(seconds * CONTROL_HZ))

    def target(self, here: np.ndarray) -> np.ndarray:
        """Where a new stretch sends the arm from ``here`` (A,): hold, nearby, or a decoy."""
        kind = self.rng.integers(4)
        if kind == 0:
            return here.copy()
        if kind == 1:
            return here + self.config.detour_std * self.rng.standard_normal(len(here))
        decoy = self.bank.poses[self.rng.integers(len(self.bank.poses))]
        goal: np.ndarray = here + self.rng.uniform(0.3, 1.0) * (decoy - here)
        return goal


class Noisy:
    """The expert with correlated noise, now and then held up or sent on a detour.

    How strong the noise is and when it stops differ by episode, so that delicate endings
    (a grasp) are covered too.
    """

    source = "noisy"

    def __init__(self, rng: np.random.Generator, config: PerturbConfig, bank: Bank) -> None:
        self.rng, self.config = rng, config
        self.scale = config.noise_std * 10 ** rng.uniform(-1.0, 0.2)
        self._stop = rng.uniform(0.0, 1.2) * bank.steps
        self.wander = Wander(rng, config, bank)
        self.noise = np.zeros(bank.poses.shape[1])
        self._left = 0

    def _step_noise(self) -> np.ndarray:
        keep = float(np.exp(-CONTROL_DT_S / self.config.noise_time_s))
        kick = self.scale * np.sqrt(1 - keep**2) * self.rng.standard_normal(len(self.noise))
        self.noise = keep * self.noise + kick
        return self.noise

    def act(self, env: Any, label: np.ndarray) -> np.ndarray:
        """Label plus noise, or the target of a detour plus noise; later the label."""
        if env.control_step >= self._stop:
            return label
        noise = self._step_noise()
        if self._left == 0 and self.rng.random() < self.config.detours_per_s * CONTROL_DT_S:
            self._left, self._target = self.wander.length(), self.wander.target(env.hold_action())
        if self._left > 0:
            self._left -= 1
            return with_rest(self._target + noise, label, env.num_steered)
        return with_rest(label + noise, label, env.num_steered)


class Delayed:
    """Holds or wanders for a while, then does what the expert says."""

    source = "delayed"

    def __init__(self, rng: np.random.Generator, config: PerturbConfig, bank: Bank) -> None:
        self.wander = Wander(rng, config, bank)
        self._wait = round(rng.uniform(0, config.delay_max) * bank.steps)
        self._left = 0

    def act(self, env: Any, label: np.ndarray) -> np.ndarray:
        """The target of the current stretch while waiting, the label afterwards."""
        if self._wait == 0:
            return label
        self._wait -= 1
        if self._left == 0:
            self._left, self._target = self.wander.length(), self.wander.target(env.hold_action())
        self._left -= 1
        return with_rest(self._target, label, env.num_steered)


def with_rest(action: np.ndarray, label: np.ndarray, num_steered: int) -> np.ndarray:
    """``action`` within [-1, 1]; what is not steered (a gripper) as the expert's ``label``."""
    action = np.clip(action, -1.0, 1.0)
    action[num_steered:] = label[num_steered:]
    return action.astype(np.float32)


def choose_kind(mix: MixConfig, rng: np.random.Generator) -> str:
    """Draw ``"clean"``, ``"noisy"`` or ``"delayed"`` by the weights of ``mix``."""
    kinds = list(vars(mix))
    weights = np.array([getattr(mix, kind) for kind in kinds])
    return str(rng.choice(kinds, p=weights / weights.sum()))


def pose_bank(env: Any, entry: TaskEntry, run_seed: int) -> Bank:
    """Watch the expert in 24 episodes of a seed that neither collection nor evaluation uses.

    Args:
        env: the unwrapped task. entry: its registry entry. run_seed: of the collection.

    Returns:
        The same for the same task, version and seed.
    """
    rng = keyed_rng("pose_bank", entry.name, entry.version, run_seed)
    poses, lengths = [], []
    for episode in range(BANK_EPISODES):
        env.reset(seed=BANK_SEED + run_seed, options={"episode": episode, "start_noise": 0.0})
        labels, done = [], False
        while not done:
            labels.append(env.expert_action())
            _, terminated, truncated, _ = env.advance(labels[-1])
            done = terminated or truncated
        poses += [labels[i] for i in rng.integers(len(labels), size=BANK_POSES)]
        lengths.append(len(labels))
    return Bank(np.stack(poses), int(np.median(lengths) + env.EPISODE_STEPS) // 2)


def plan_episode(
    config: CollectConfig,
    bank: Bank,
    policy: Mover | None,
    rng: np.random.Generator,
) -> tuple[Mover, float]:
    """Draw who moves the arm and the noise of the start pose in rad.

    Args:
        bank: see ``pose_bank``. policy: DAgger's mover, or None.
        rng: the episode's ``collect`` stream.
    """
    start_noise = float(rng.uniform(0, config.perturb.start_noise_rad))
    if policy is not None and rng.random() >= config.beta:
        return policy, start_noise * float(rng.integers(2))
    kind = choose_kind(config.mix, rng)
    if kind == "clean":
        return Clean(), 0.0
    if kind == "noisy":
        return Noisy(rng, config.perturb, bank), start_noise
    return Delayed(rng, config.perturb, bank), start_noise


def record_episode(
    env: Any,
    entry: TaskEntry,
    config: CollectConfig,
    episode: int,
    bank: Bank,
    policy: Mover | None = None,
) -> RecordedEpisode:
    """Roll one episode out and label every state of it.

    Args:
        env: the unwrapped task, made with the config's image size. entry: its registry entry.
        episode: the bench's episode index.
        bank: see ``pose_bank``. policy: DAgger's mover, or None.

    Raises:
        ValueError: the expert or the policy gave an action that is not finite.
    """
    rng = episode_rng(entry.name, entry.version, config.run_seed, episode, "collect")
    mover, start_noise = plan_episode(config, bank, policy, rng)
    options = {"episode": episode, "start_noise": start_noise}
    _, info = env.reset(seed=config.run_seed, options=options)
    rows: list[tuple[np.ndarray, ...]] = []
    success: list[bool] = []
    heard = [] if env.sound is None else [env.sound.observation()]  # the second before
    done = False
    while not done:
        label = env.expert_action()
        action = mover.act(env, label)
        rows.append((env.agent_pos(), env.environment_state(), label, action))
        _, terminated, truncated, info = env.advance(action)
        if env.sound is not None:
            heard.append(env.sound.newest())
        success.append(bool(info["is_success"]))
        done = terminated or truncated
    num_frames = -(-len(rows) // ROWS_PER_FRAME)
    frames = [env.frame(CAMERA, TICKS_PER_CAMERA * j) for j in range(num_frames)]
    columns = [np.stack(column).astype(np.float32) for column in zip(*rows, strict=True)]
    if not np.isfinite(columns[2]).all():
        raise ValueError(f"the expert of {entry.name} gave an action that is not finite")
    spacing = clip_spacing(env.sampling(ClipConfig())) if config.flow else 0
    identity = EpisodeIdentity(
        task_name=entry.name,
        version=entry.version,
        seed=config.run_seed,
        episode=episode,
        source=mover.source,
        success=success[-1],
        initial_hash=env.initial_hash(),
        description=env.task_description,
    )
    return RecordedEpisode(
        identity=identity,
        agent_pos=columns[0],
        environment_state=columns[1],
        action=columns[2],
        executed_action=columns[3],
        success=np.array(success),
        frames={CAMERA: np.stack(frames)},
        audio=to_pcm(np.concatenate(heard, axis=1)) if heard else None,
        audio_channels=env.sound.channel_names if heard else (),
        flow=episode_flow(env.world, num_frames, spacing) if config.flow else None,
        flow_ticks=spacing,
    )


def episode_flow(world: World, num_frames: int, spacing: int) -> np.ndarray:
    """Exact flow of every camera frame since the one ``spacing`` ticks before.

    Returns:
        (F, 36, 2) float32 cells; zero where the episode had not begun then.
    """
    flow = np.zeros((num_frames, FLOW_SIDE**2, 2), dtype=np.float32)
    for frame in range(spacing // TICKS_PER_CAMERA, num_frames):
        tick = frame * TICKS_PER_CAMERA
        flow[frame] = world.flow(CAMERA, tick, tick - spacing)
    return flow
