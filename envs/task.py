"""The base class of every task: the Gymnasium interface, episodes, frames and states.

``ArmTask`` and ``HumanoidTask`` add a robot: how its model is made (``_make_spec``), its start
pose (``_place_robot``), how an action drives its motors (``_drive``) and its proprioception
(``agent_pos``). The docstring of ``arm/task.py`` says how to write a task.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from neon_sim.audio.microphones import microphone_named
from neon_sim.audio.pcm import RING_SAMPLES
from neon_sim.audio.room import ROOMS
from neon_sim.clock import CONTROL_HZ, latest_camera_tick
from neon_sim.contracts import Info, Observation
from neon_sim.errors import ConfigError, ResetNeededError
from neon_sim.observation.clips import ClipConfig, ClipPlan, clip_flow, plan_clip, stretched
from neon_sim.registry import clip_span_s
from neon_sim.rules import hold
from neon_sim.seeding import episode_rng
from neon_sim.simulation.gl import mujoco
from neon_sim.simulation.world import World

from .contract import L, TaskContract
from .episode import Start, check_action
from .menagerie import BODIES
from .settings import (
    ImageSize,
    Key,
    ResetOptions,
    StartNoise,
    check_latent,
    check_name,
    check_names,
    check_options,
    settings_of,
)

STATE_DIM = 16  # numbers of ``environment_state``
HOLD_STEPS = 10  # control steps that success must last before the episode ends
VIEW_HEIGHT, VIEW_WIDTH = 480, 640  # pixels of ``render``
FIRST_DRAWN_SEED = 2**30  # from here on lie the run seeds that an environment draws itself


class Task(TaskContract[L]):
    """A robot with a task, as a Gymnasium environment at 50 Hz.

    Args:
        cameras: cameras in the observation; without any, no image is drawn.
        image_size: pixels per side of the square images.
        robot: ``"primitive"`` or ``"menagerie"`` (published meshes, ``MENAGERIE_ROOT``).
        render_mode: ``None`` or ``"rgb_array"``.
        seed: run seed until ``reset(seed=...)`` sets another. With ``None`` the first reset
            without a seed draws one, 2**30 or above, and reports it in ``info["run_seed"]``. So
            unseeded environments side by side play different episodes.
        start_noise: radius of the perturbation of the start pose, rad.
        microphones: arrays in the observation (``mono``, ``linear4``, ``head_stereo``,
            ``wrist_contact``); the task's ``MICROPHONES`` by default. Without any, no sound is
            computed.
        room: the room whose reflections are heard: ``anechoic``, ``dry`` or ``live``.
        privileged_info: add the episode's latent to the info of ``reset``. It holds what no
            robot can know: true velocities, hidden places, the cue.

    Raises:
        ConfigError: a value outside its rule. UnknownNameError: no such setting, camera, robot,
            render mode, microphone or room.

    Attributes:
        world: physics and cameras. sound: the soundscape, or None without microphones.
        limits: how often joints were at their limits, in the control steps since reset that
            ``count_limits`` recorded.
        start: the state in which the episode starts, filled by ``apply_latent``.
        control_step: control steps since reset.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": CONTROL_HZ}  # noqa: RUF012

    def __init__(
        self,
        cameras: Sequence[str] = ("front",),
        image_size: int = 96,
        robot: str = "primitive",
        render_mode: str | None = None,
        seed: int | None = None,
        start_noise: float = 0.0,
        microphones: Sequence[str] | None = None,
        room: str = "anechoic",
        privileged_info: bool = False,
        **unknown: object,
    ) -> None:
        for name in unknown:
            check_name(f"setting of {type(self).__name__}", name, list(settings_of(type(self))))
        arrays = check_names(
            "microphones", self.MICROPHONES if microphones is None else microphones
        )
        for name in arrays:
            microphone_named(name)
        check_name("room", room, list(ROOMS))
        self.cameras = check_names("cameras", cameras)
        hold("image_size", image_size, ImageSize)
        hold("start_noise", start_noise, StartNoise)
        hold("seed", seed, Key | None)
        hold("privileged_info", privileged_info, bool)
        self.image_size, self.start_noise = int(image_size), float(start_noise)
        self.privileged_info = privileged_info
        self.robot = check_name("robot", robot, BODIES)
        if render_mode is not None:
            check_name("render_mode", render_mode, self.metadata["render_modes"])
        self.render_mode = render_mode
        self._addresses: dict[str, tuple[int, int]] = {}
        self.world = World(self._make_spec(robot))
        for camera in self.cameras:
            self.world.camera_id(camera)  # raises now if there is no such camera
        self.sound = self._make_sound(arrays, room) if arrays else None
        self._seed = None if seed is None else int(seed)
        self._episode = -1  # no episode until the first reset
        self.action_space = spaces.Box(-1.0, 1.0, (self.action_dim,), np.float32)
        self.observation_space = self._make_observation_space()
        self._latent: L | None = None
        self.start = Start.default(self.model)
        self.control_step, self._over = 0, True

    # ---- Gymnasium ----------------------------------------------------------------------

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode. Its start depends only on ``(task, version, seed, episode)``.

        Args:
            seed: run seed; the episode index starts at 0 again.
            options: ``episode`` (index, default the next one), ``latent`` (instead of drawing
                one), ``start_noise`` (rad, for this episode).

        Returns:
            observation and info: ``is_success``, ``progress``, ``run_seed``, ``episode_index``
            (as at every step), and ``latent`` with ``privileged_info``.

        Raises:
            ConfigError: a value outside its rule, or a latent of another task.
            UnknownNameError: no such option.
        """
        hold("seed", seed, Key | None)
        seed = None if seed is None else int(seed)
        given = check_options(options)
        super().reset(seed=seed)
        before = self._seed, self._episode, self._latent
        self._over = True  # until the set-up has succeeded
        try:
            self._set_up(seed, given)
        except BaseException:  # the next reset starts the episode that this one would have
            self._seed, self._episode, self._latent = before
            raise
        info: dict[str, Any] = dict(self._info(self._outcome()[0], self._last_progress))
        if self.privileged_info:
            info["latent"] = copy.deepcopy(self.latent)
        return self.observe(), info

    def _set_up(self, seed: int | None, given: ResetOptions) -> None:
        """Choose the episode and begin it."""
        if seed is not None:
            self._seed, self._episode = seed, -1
        elif self._seed is None:
            self._seed = int(self.np_random.integers(FIRST_DRAWN_SEED, 2 * FIRST_DRAWN_SEED))
        self._episode = self._episode + 1 if given.episode is None else given.episode
        drawn = self.sample_latent(self.rng("latent"))
        noise = self.start_noise if given.start_noise is None else given.start_noise
        if given.latent is None:
            self._begin(drawn, noise)
            return
        latent = check_latent(given.latent, drawn)
        try:
            self._begin(latent, noise)
            is_known = not self.CUE or latent[self.CUE] in self.cues()
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise ConfigError(
                f"options['latent'] must be one that {self.NAME} can begin with "
                f"({type(error).__name__}: {error}); take one that it drew (env.unwrapped.latent)"
            ) from error
        if not is_known:
            raise ConfigError(
                f"options['latent'][{self.CUE!r}] must be one of {self.cues()} "
                f"(got {latent[self.CUE]!r})"
            )

    def _begin(self, latent: L, start_noise: float) -> None:
        self._latent = latent
        self.start = Start.default(self.model)
        self._place_robot(start_noise)
        self.apply_latent(latent)
        start = self.start
        self.world.reset(
            start.qpos,
            start.qvel,
            ctrl=self._start_drive(),
            mocap_pos=start.mocap_pos,
            mocap_quat=start.mocap_quat,
        )
        if self.sound is not None:
            self.sound.reset((self.NAME, self.VERSION, self.run_seed, self._episode))
            self.begin_sound(self.sound)
        self.limits.reset()
        self.control_step, self._held, self._over = 0, 0, False
        self._last_progress = self.progress()

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """One control step (20 ms): ``advance`` then ``observe``."""
        reward, terminated, truncated, info = self.advance(action)
        return self.observe(), reward, terminated, truncated, dict(info)

    def advance(
        self, action: np.ndarray, *, past_end: bool = False
    ) -> tuple[float, bool, bool, Info]:
        """One control step (20 ms, ten physics ticks) without drawing an image.

        Args:
            action: (A,) in [-1, 1]; values beyond are clipped.
            past_end: also continue after the end of the episode. For callers that watch the
                scene and ignore the outcome.

        Returns:
            reward (change of progress), terminated, truncated, info.

        Raises:
            ActionError: an action of another shape, or with a value that is not finite.
            ResetNeededError: before the first reset, or after the end of the episode.
        """
        if self._over and (self._episode < 0 or not past_end):
            raise ResetNeededError(self._why_over())
        self._drive(check_action(action, self.action_dim))
        self.control_step += 1
        self.after_step()
        success, failed = self._outcome()
        progress = self._progress(success, failed)
        self._held = self._held + 1 if success else 0
        terminated = self._held >= HOLD_STEPS or failed
        reward, self._last_progress = progress - self._last_progress, progress
        truncated = self.control_step >= self.EPISODE_STEPS
        self._over = self._over or terminated or truncated
        return reward, terminated, truncated, self._info(success, progress)

    def observe(self) -> Observation:
        """The observation now.

        Returns:
            ``agent_pos`` (P,) float32 in [-1, 1]; with cameras ``pixels``, the newest frame of
            each (S, S, 3) uint8; with microphones ``audio``, their last second (C, 16000)
            float32 in [-1, 1].
        """
        observation: Observation = {"agent_pos": self.agent_pos()}
        if self.cameras:
            tick = latest_camera_tick(self.world.tick)
            observation["pixels"] = {name: self.frame(name, tick) for name in self.cameras}
        if self.sound is not None:
            observation["audio"] = self.sound.observation()
        return observation

    def render(self) -> np.ndarray | None:
        """(480, 640, 3) uint8: the current state, for people.

        Without a ``render_mode`` it warns and returns None, as Gymnasium prescribes.
        """
        if self.render_mode is None:
            gymnasium.logger.warn(
                f"{self.NAME} was made without a render_mode: render() returns None. "
                'Make it with render_mode="rgb_array".'
            )
            return None
        return self.world.render_now("view", VIEW_HEIGHT, VIEW_WIDTH, "view")

    def render_frame(
        self, tick: int, height: int = VIEW_HEIGHT, width: int = VIEW_WIDTH, camera: str = "view"
    ) -> np.ndarray:
        """(height, width, 3) uint8: the scene at a past camera tick, for people."""
        return self.world.frame(camera, tick, height, width, "video")

    def close(self) -> None:
        """Free the cameras."""
        self.world.close()

    # ---- what policies, recorders and evaluations read ------------------------------------

    @property
    def model(self) -> mujoco.MjModel:
        """The compiled model."""
        return self.world.model

    @property
    def data(self) -> mujoco.MjData:
        """The live state."""
        return self.world.data

    @property
    def latent(self) -> L:
        """What was drawn for the running episode, as JSON values.

        Raises:
            ResetNeededError: no episode has begun.
        """
        if self._latent is None:
            raise ResetNeededError(f"{self.NAME} has no latent before its first reset()")
        return self._latent

    @property
    def run_seed(self) -> int:
        """The seed of the run. Together with the episode's index it decides the start.

        Raises:
            ResetNeededError: made without a seed, and not yet reset.
        """
        if self._seed is None:
            raise ResetNeededError(f"{self.NAME} has no run seed before its first reset()")
        return self._seed

    @property
    def tick(self) -> int:
        """Physics ticks since reset."""
        return self.world.tick

    def frame(self, camera: str, tick: int, image_size: int | None = None) -> np.ndarray:
        """(S, S, 3) uint8: what a camera saw at a past camera tick; drawn when called.

        Args:
            camera: its name. tick: of a camera frame. image_size: S, the setting by default.
        """
        size = self.image_size if image_size is None else image_size
        return self.world.frame(camera, tick, size, size)

    def sampling(self, config: ClipConfig) -> ClipConfig:
        """``config``, with frames further apart if this task needs a longer past."""
        return stretched(config, clip_span_s(self.NAME))

    def clip(self, config: ClipConfig) -> tuple[np.ndarray, ClipPlan]:
        """The clip (T, H, W, 3) uint8 that a policy with ``config`` sees now, and its plan."""
        plan = self._plan(config)
        frames = [self.frame(config.camera, int(t), config.image_size) for t in plan.ticks]
        return np.stack(frames), plan

    def state_history(self, config: ClipConfig) -> np.ndarray:
        """(T, 16) float32 ``environment_state`` at the ticks of the clip of ``config``."""
        ticks = self._plan(config).ticks
        return np.stack([self.environment_state(int(tick)) for tick in ticks])

    def flow_history(self, config: ClipConfig) -> np.ndarray:
        """(T, 36, 2) float32: exact flow to each frame of the clip from the one before, in cells.

        See ``World.flow``. Zero for the first frame and for padding.
        """
        return clip_flow(self._plan(config), partial(self.world.flow, config.camera))

    def _plan(self, config: ClipConfig) -> ClipPlan:
        """Which frames a policy with ``config`` sees now."""
        return plan_clip(self.sampling(config), self.world.tick)

    def environment_state(self, tick: int | None = None) -> np.ndarray:
        """(16,) float32: what a perfect frame shows now, or at a past camera tick; zero padded."""
        qpos = self.world.data.qpos if tick is None else self.world.snapshot(tick).qpos
        state = np.zeros(STATE_DIM, dtype=np.float32)
        visible = self.visible_state(qpos)
        state[: len(visible)] = visible
        return state

    def progress(self) -> float:
        """1 when the task is solved, 0 when it has failed, otherwise ``closeness``."""
        return self._progress(*self._outcome())

    def initial_hash(self) -> str:
        """Hex SHA-256 of the start's qpos and qvel, and of the first front frame at 96 pixels."""
        digest = hashlib.sha256(self.start.qpos.tobytes())
        digest.update(self.start.qvel.tobytes())
        digest.update(self.world.frame("front", 0, 96, 96).tobytes())
        return digest.hexdigest()

    # ---- helpers for tasks ------------------------------------------------------------------

    def rng(self, stream: str) -> np.random.Generator:
        """The random generator of a named stream of this episode."""
        return episode_rng(self.NAME, self.VERSION, self.run_seed, self._episode, stream)

    def place_body(
        self,
        name: str,
        position: Sequence[float],
        velocity: Sequence[float] = (0.0, 0.0, 0.0),
        yaw: float = 0.0,
    ) -> None:
        """Set where a free body starts the episode: m, m/s, rad about z."""
        q, v = self._address(name)
        self.start.qpos[q : q + 7] = [*position, np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)]
        self.start.qvel[v : v + 3] = velocity

    def body_position(self, name: str, qpos: np.ndarray | None = None) -> np.ndarray:
        """(3,) m: place of a free body, now or in a past configuration."""
        q = self._address(name)[0]
        return np.array((self.world.data.qpos if qpos is None else qpos)[q : q + 3])

    def body_velocity(self, name: str) -> np.ndarray:
        """(3,) m/s: velocity of a free body now. Experts and success read it, policies do not."""
        v = self._address(name)[1]
        return np.array(self.world.data.qvel[v : v + 3])

    def _address(self, name: str) -> tuple[int, int]:
        """Where a free body begins in qpos and in qvel."""
        if name not in self._addresses:
            joint = self.model.joint(self.model.body(name).jntadr[0])
            self._addresses[name] = (int(joint.qposadr[0]), int(joint.dofadr[0]))
        return self._addresses[name]

    # ---- inside ---------------------------------------------------------------------------

    def _step_physics(self, points: np.ndarray) -> None:
        """Advance n physics ticks with motor set points (n, nu)."""
        (self.world if self.sound is None else self.sound).step(points)

    def _outcome(self) -> tuple[bool, bool]:
        """Success and failure now."""
        lost = self.lost()
        return self.is_success() and not lost, lost or self.failed()

    def _make_observation_space(self) -> spaces.Dict:
        parts: dict[str, spaces.Space[Any]] = {
            "agent_pos": spaces.Box(-1.0, 1.0, (self.proprio_dim,), np.float32)
        }
        if self.cameras:
            image = spaces.Box(0, 255, (self.image_size, self.image_size, 3), np.uint8)
            parts["pixels"] = spaces.Dict(dict.fromkeys(self.cameras, image))
        if self.sound is not None:
            channels = (len(self.sound.channel_names), RING_SAMPLES)
            parts["audio"] = spaces.Box(-1.0, 1.0, channels, np.float32)
        return spaces.Dict(parts)

    def _why_over(self) -> str:
        """The error message of a step outside an episode."""
        if self._episode < 0:
            return f"{self.NAME} has not begun: call reset() before step()"
        return (
            f"{self.NAME}, episode {self._episode}, is over since control step "
            f"{self.control_step}: call reset() before the next step()"
        )

    def _progress(self, success: bool, failed: bool) -> float:
        if success:
            return 1.0
        return 0.0 if failed else self.closeness()

    def _info(self, success: bool, progress: float) -> Info:
        return {
            "is_success": success,
            "progress": progress,
            "run_seed": self.run_seed,
            "episode_index": self._episode,
        }
