"""What the environment adds to MuJoCo: ``step()`` against the physics and drawing inside it.

One episode of the scripted expert is recorded. Then, in turns: the environment replays its
actions; a bare loop replays the same motor set points through ``mj_step`` and draws the
same frames with the same renderer settings; a plain ``mujoco.Renderer`` does so with
MuJoCo's default settings (shadow map 4096, 4x MSAA, fine tessellation).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from neon_sim.clock import CONTROL_HZ, TICKS_PER_CAMERA
from neon_sim.gl import mujoco
from neon_sim.registry import task_entry
from neon_sim.world import FAST_QUALITY, Camera

from .rows import Options, Row, row_of, wall_s

SIZE = 96
MAX_OVERHEAD = 1.15
MIN_REAL_TIME = 20.0
PLAIN_FRAMES = 12  # frames drawn with default settings a repetition; they are slow


@dataclass
class Tape:
    """One recorded episode.

    Attributes:
        actions: (L, 8) what the expert did.
        controls: L arrays (10, nu) of motor set points.
        start: full MuJoCo state at reset.
    """

    actions: list[np.ndarray]
    controls: list[np.ndarray]
    start: np.ndarray


def record(env: Any) -> Tape:
    """Let the expert play episode 0 of seed 0 and keep what reached the motors."""
    core = env.unwrapped
    env.reset(seed=0)
    state = np.zeros(mujoco.mj_stateSize(core.model, mujoco.mjtState.mjSTATE_INTEGRATION))
    mujoco.mj_getState(core.model, core.data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
    actions: list[np.ndarray] = []
    controls: list[np.ndarray] = []
    step = core.world.step

    def taped(ctrl: np.ndarray) -> None:
        controls.append(ctrl.copy())
        step(ctrl)

    core.world.step = taped
    try:
        over = False
        while not over:
            actions.append(core.expert_action())
            _, terminated, truncated, _ = core.advance(actions[-1])
            over = terminated or truncated
    finally:
        del core.world.step
    return Tape(actions, controls, state)


def replay_env(env: Any, tape: Tape) -> Callable[[], None]:
    """The environment's own way through the tape; reset is not timed."""
    env.reset(seed=0)

    def run() -> None:
        for action in tape.actions:
            env.step(action)

    return run


def replay_bare(core: Any, tape: Tape, camera: Camera) -> Callable[[], None]:
    """``mj_step`` and a frame every camera tick, and nothing else."""
    model, data = core.model, mujoco.MjData(core.model)
    mujoco.mj_setState(model, data, tape.start, mujoco.mjtState.mjSTATE_INTEGRATION)
    mujoco.mj_forward(model, data)
    eye = core.world.camera_id("front")

    def run() -> None:
        tick = 0
        for controls in tape.controls:
            for row in controls:
                data.ctrl[:] = row
                mujoco.mj_step(model, data)
            tick += len(controls)
            if tick % TICKS_PER_CAMERA == 0:
                camera.render(data, eye)

    return run


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
        return self._renderer.render()

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
    core = env.unwrapped
    tape = record(env)
    steps = len(tape.actions)
    few = Tape(tape.actions[: 2 * PLAIN_FRAMES], tape.controls[: 2 * PLAIN_FRAMES], tape.start)
    fast = PlainRenderer(core.model, FAST_QUALITY, (SIZE, SIZE))
    plain = PlainRenderer(core.model, default_quality())
    for warm in (replay_env(env, few), replay_bare(core, few, fast)):
        warm()
    seconds: dict[str, list[float]] = {"env": [], "bare": [], "plain": []}
    for _ in range(repeats):
        seconds["env"].append(wall_s(replay_env(env, tape)))
        seconds["bare"].append(wall_s(replay_bare(core, tape, fast)))
        short = wall_s(replay_bare(core, few, plain))
        seconds["plain"].append(short * steps / len(few.actions))
    fast.close()
    plain.close()
    overhead = [e / b for e, b in zip(seconds["env"], seconds["bare"], strict=True)]
    gain = [p / e for p, e in zip(seconds["plain"], seconds["env"], strict=True)]
    pace = [steps / CONTROL_HZ / s for s in seconds["env"]]
    return [
        row_of("step / bare mj_step + render", name, overhead, "x", at_most=MAX_OVERHEAD),
        row_of("simulated time, one core", name, pace, "s/s", at_least=MIN_REAL_TIME),
        row_of("env", name, [steps / s for s in seconds["env"]], "steps/s"),
        row_of("plain mujoco.Renderer", name, [steps / s for s in seconds["plain"]], "steps/s"),
        row_of("env / plain mujoco.Renderer", name, gain, "x"),
    ]
