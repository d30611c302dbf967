"""What the environment adds to MuJoCo: ``step()`` against the physics and drawing inside it.

One episode of the scripted expert is recorded. Then, in turns: the environment replays its
actions; a bare loop replays the same motor set points through ``mj_step`` and draws the
same frames with the same renderer settings; another one leaves the drawing out; a plain
``mujoco.Renderer`` draws with MuJoCo's default settings (shadow map 4096, 4x MSAA, fine
tessellation). The two bare loops apart are what frames cost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from neon_sim.clock import CONTROL_DT_S, TICKS_PER_CAMERA, TICKS_PER_CONTROL
from neon_sim.registry import task_entry
from neon_sim.simulation.camera import FAST_QUALITY, Camera
from neon_sim.simulation.gl import mujoco

from .rows import Options, Row, wall_s

SIZE = 96
MAX_OVERHEAD = 1.15
MIN_REAL_TIME = 20.0
MIN_HUMANOID_FRAMES = 300.0  # camera frames a second of a humanoid at 96 px, physics and all
BLOCK_STEPS = 10  # control steps a side plays before the other one's turn
PLAIN_STEPS = 10  # control steps with default settings a repetition; they are slow


@dataclass
class Tape:
    """One recorded episode.

    Attributes:
        actions: (L, 8) what the expert did.
        pushes: what reached MuJoCo in each of them: motor set points (n, nu), and what the task
            itself had moved or pulled since the last of them, as a state; None for nothing.
        start: full MuJoCo state at reset. end: positions and velocities after the last push.
    """

    actions: list[np.ndarray]
    pushes: list[list[tuple[np.ndarray, np.ndarray | None]]]
    start: np.ndarray
    end: np.ndarray


FULL, MOTION = mujoco.mjtState.mjSTATE_INTEGRATION, mujoco.mjtState.mjSTATE_PHYSICS
OUTSIDE = MOTION.value | mujoco.mjtState.mjSTATE_USER.value


def state_of(model: Any, data: Any, what: Any = FULL) -> np.ndarray:
    """A part of MuJoCo's state as numbers."""
    state = np.zeros(mujoco.mj_stateSize(model, what))
    mujoco.mj_getState(model, data, state, what)
    return state


def record(env: Any) -> Tape:
    """Let the expert play episode 0 of seed 0 and keep what reached the motors."""
    core = env.unwrapped
    env.reset(seed=0)
    model, data, step = core.model, core.data, core.world.step
    start = state_of(model, data)
    tape = Tape([], [], start, start)
    left = np.zeros(0)

    def world_now() -> np.ndarray:
        """All but the set points, which are told row by row."""
        points = data.ctrl.copy()
        data.ctrl[:] = 0.0
        state = state_of(model, data, OUTSIDE)
        data.ctrl[:] = points
        return state

    def taped(ctrl: np.ndarray) -> None:
        nonlocal left
        found = world_now()
        tape.pushes[-1].append((ctrl.copy(), None if np.array_equal(found, left) else found))
        step(ctrl)
        left = world_now()
        tape.end = state_of(model, data, MOTION)

    core.world.step = taped
    try:
        over = False
        while not over:
            tape.actions.append(core.expert_action())
            tape.pushes.append([])
            _, terminated, truncated, _ = core.advance(tape.actions[-1])
            over = terminated or truncated
    finally:
        del core.world.step
    return tape


Play = Callable[[int, int], None]  # replay control steps [start, stop)


def replay_env(env: Any, tape: Tape) -> Play:
    """The environment's own way through the tape; reset is not timed."""
    env.reset(seed=0)

    def play(start: int, stop: int) -> None:
        for action in tape.actions[start:stop]:
            env.step(action)

    return play


def replay_bare(core: Any, tape: Tape, camera: Camera | None) -> Play:
    """``mj_step`` and, with a camera, a frame every camera tick, and nothing else.

    Raises:
        RuntimeError: the tape's last step does not end where the environment's did, so that the
            two are not the same work.
    """
    model, data = core.model, mujoco.MjData(core.model)
    mujoco.mj_setState(model, data, tape.start, FULL)
    mujoco.mj_forward(model, data)
    eye = core.world.camera_id("front")

    def play(start: int, stop: int) -> None:
        tick = start * TICKS_PER_CONTROL
        for pushes in tape.pushes[start:stop]:
            for ctrl, outside in pushes:
                if outside is not None:
                    mujoco.mj_setState(model, data, outside, OUTSIDE)
                for row in ctrl:
                    data.ctrl[:] = row
                    mujoco.mj_step(model, data)
            tick += TICKS_PER_CONTROL
            if camera is not None and tick % TICKS_PER_CAMERA == 0:
                camera.render(data, eye)
        if stop == len(tape.pushes) and not np.array_equal(state_of(model, data, MOTION), tape.end):
            raise RuntimeError("the bare loop does not end where the environment did")

    return play


class PlainRenderer:
    """``mujoco.Renderer`` as everybody uses it, on the task's model.

    Args:
        model: compiled model.
        quality: ``vis.quality`` values to draw with.
        buffer_size: width and height of the off-screen buffer; None for the model's own.
    """

    def __init__(
        self, model: Any, quality: dict[str, int], buffer_size: tuple[int, int] | None = None
    ) -> None:
        size = model.vis.global_.offwidth, model.vis.global_.offheight
        self._set(model, quality, buffer_size or size)
        try:
            self._renderer = mujoco.Renderer(model, SIZE, SIZE)
        finally:
            self._set(model, FAST_QUALITY, size)

    @staticmethod
    def _set(model: Any, quality: dict[str, int], size: tuple[int, int]) -> None:
        model.vis.global_.offwidth, model.vis.global_.offheight = size
        for name, value in quality.items():
            setattr(model.vis.quality, name, value)

    def render(self, data: Any, camera_id: int) -> np.ndarray:
        """Update the scene and draw it."""
        self._renderer.update_scene(data, camera_id)
        picture: np.ndarray = self._renderer.render()
        return picture

    def close(self) -> None:
        """Free the GL context."""
        self._renderer.close()


def default_quality() -> dict[str, int]:
    """MuJoCo's own values of what ``FAST_QUALITY`` sets."""
    quality = mujoco.MjSpec().visual.quality
    return {name: getattr(quality, name) for name in FAST_QUALITY}


def measure(options: Options) -> list[Row]:
    """Overhead, simulated seconds a wall second and the plain loop, for every task."""
    rows: list[Row] = []
    for name in options.tasks:
        env = gymnasium.make(task_entry(name).env_id, image_size=SIZE, disable_env_checker=True)
        rows += _measure_task(name, env, options.repeats)
        env.close()
    return rows


def _measure_task(name: str, env: Any, repeats: int) -> list[Row]:
    core, tape = env.unwrapped, record(env)
    replay_bare(core, tape, None)(0, len(tape.pushes))  # it is the same work
    fast = PlainRenderer(core.model, FAST_QUALITY, (SIZE, SIZE))
    plain = PlainRenderer(core.model, default_quality())
    blocks = _blocks(len(tape.actions))
    turns, plain_s = [], []
    for _ in range(repeats):
        ways = [replay_env(env, tape), *(replay_bare(core, tape, eye) for eye in (fast, None))]
        turns.append([[wall_s(way, *block) for way in ways] for block in blocks])
        slow = replay_bare(core, tape, plain)
        plain_s.append(wall_s(slow, 0, PLAIN_STEPS) / PLAIN_STEPS)
    fast.close()
    plain.close()
    return _rows(name, np.moveaxis(np.array(turns), 2, 0), np.array(plain_s))


def _blocks(steps: int) -> list[tuple[int, int]]:
    """Cut an episode into whole blocks of control steps that the two sides take in turns."""
    return [(k, k + BLOCK_STEPS) for k in range(0, steps - BLOCK_STEPS + 1, BLOCK_STEPS)]


def _rows(name: str, sides: np.ndarray, plain_s: np.ndarray) -> list[Row]:
    """Rows of wall seconds: ``sides`` (3, repeats, blocks) of the environment, the bare loop and
    physics alone; ``plain_s`` (repeats,) is a control step's.

    A block is the same work in every repetition, so its median over them leaves out the
    repetitions in which another process had the core.
    """
    steps = sides.shape[2] * BLOCK_STEPS
    step_s, bare, physics = np.median(sides, axis=1).sum(axis=1) / steps
    each, each_bare, each_physics = sides.sum(axis=2) / steps
    plain = float(np.median(plain_s))
    frames = TICKS_PER_CONTROL / TICKS_PER_CAMERA  # a control step

    def row(measure: str, value: float, every: np.ndarray, unit: str, **target: float) -> Row:
        return Row(measure, name, float(value), unit, every.min(), every.max(), **target)

    overhead = row(
        "step / bare mj_step + render", step_s / bare, each / each_bare, "x", at_most=MAX_OVERHEAD
    )
    pace = row(
        "simulated time, one core",
        CONTROL_DT_S / step_s,
        CONTROL_DT_S / each,
        "s/s",
        at_least=MIN_REAL_TIME,
    )
    asked = {"at_least": MIN_HUMANOID_FRAMES} if task_entry(name).robot == "humanoid" else {}
    seen = row("env, camera frames", frames / step_s, frames / each, "1/s", **asked)
    return [
        overhead,
        pace,
        seen,
        row("env", 1 / step_s, 1 / each, "steps/s"),
        row("mj_step alone / step", physics / step_s, each_physics / each, "x"),
        row("frames drawn", frames / (bare - physics), frames / (each_bare - each_physics), "1/s"),
        row("plain mujoco.Renderer", 1 / plain, 1 / plain_s, "steps/s"),
        row("env / plain mujoco.Renderer", plain / step_s, plain_s / each, "x"),
    ]
