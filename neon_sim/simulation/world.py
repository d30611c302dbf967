"""The MuJoCo world: physics in a tight loop, and frames of the past drawn only when asked.

Physics never waits for a picture. Every camera tick (25 Hz) the world stores a snapshot
of the configuration (positions only, a few hundred bytes); a frame of that tick is drawn
later on a second ``MjData``, so it shows exactly ``qpos`` at that tick, and is remembered
for the rest of the episode.
"""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
from annotated_types import Interval

from neon_sim.clock import PHYSICS_DT_S, TICKS_PER_CAMERA
from neon_sim.errors import ConfigError, unknown_name
from neon_sim.rules import hold
from neon_sim.simulation.camera import FAST_QUALITY, Camera, count_fork, forks, make_camera
from neon_sim.simulation.gl import mujoco

if TYPE_CHECKING:
    from neon_sim.simulation.flow import FlowCamera

FRAME_CACHE_BYTES = 32 * 2**20  # per world
MAX_PIXELS = 4096  # a side; larger buffers are beyond what off-screen GL promises


class Snapshot(NamedTuple):
    """What a frame needs to know of the past: (nq,), (nmocap, 3), (nmocap, 4) float64."""

    qpos: np.ndarray
    mocap_pos: np.ndarray
    mocap_quat: np.ndarray


os.register_at_fork(after_in_child=count_fork)


def force_settings(spec: Any) -> None:
    """Write the bench's physics and render settings into a spec before it is compiled.

    Dense Jacobian (mujoco 4.0.0's sparse Newton Hessian is wrong), 2 ms steps, no shadow
    map, no MSAA, coarse tessellation, no reflections.
    """
    spec.option.jacobian = mujoco.mjtJacobian.mjJAC_DENSE
    spec.option.timestep = PHYSICS_DT_S
    for name, value in FAST_QUALITY.items():
        setattr(spec.visual.quality, name, value)
    for material in spec.materials:
        material.reflectance = 0.0


def check_settings(model: Any) -> None:
    """Raise ``ConfigError`` unless a compiled model has the settings of ``force_settings``."""
    found = {name: getattr(model.vis.quality, name) for name in FAST_QUALITY}
    found |= {"jacobian": int(model.opt.jacobian), "timestep": float(model.opt.timestep)}
    found["reflectance"] = float(max(model.mat_reflectance, default=0.0))
    dense = int(mujoco.mjtJacobian.mjJAC_DENSE)
    wanted = {**FAST_QUALITY, "jacobian": dense, "timestep": PHYSICS_DT_S, "reflectance": 0.0}
    wrong = {name: found[name] for name in wanted if found[name] != wanted[name]}
    if wrong:
        raise ConfigError(f"model settings must be {wanted} (got {wrong})")


class World:
    """A compiled model, its state, an integer clock and its cameras.

    Args:
        spec: ``mujoco.MjSpec`` (its settings are overwritten) or an MJCF string.

    Attributes:
        model, data: MuJoCo's own. Colours and static poses in ``model`` may be changed
            between episodes; frames of an episode must be asked for within it.
        tick: physics ticks since the last reset.
    """

    def __init__(self, spec: Any) -> None:
        if isinstance(spec, str):
            spec = mujoco.MjSpec.from_string(spec)
        force_settings(spec)
        self.model = spec.compile()
        check_settings(self.model)
        self.data = mujoco.MjData(self.model)
        self._init_drawing()
        self.reset()

    def _init_drawing(self) -> None:
        self._draw_data = mujoco.MjData(self.model)
        self._cameras: dict[tuple[int, int, str], Camera] = {}
        self._flow_camera: FlowCamera | None = None
        self._camera_forks = forks
        self._frames: OrderedDict[tuple[int, int, int, int, str], np.ndarray] = OrderedDict()
        self._frame_bytes = 0
        names = (mujoco.mjtObj.mjOBJ_CAMERA, range(self.model.ncam))
        self._camera_ids = {mujoco.mj_id2name(self.model, names[0], i): i for i in names[1]}

    def reset(
        self,
        qpos: np.ndarray | None = None,
        qvel: np.ndarray | None = None,
        *,
        act: np.ndarray | None = None,
        ctrl: np.ndarray | None = None,
        mocap_pos: np.ndarray | None = None,
        mocap_quat: np.ndarray | None = None,
    ) -> None:
        """Start an episode: clear everything, set what is given, ``mj_forward``, snapshot 0.

        Args:
            qpos, qvel, act, ctrl: (nq,), (nv,), (na,), (nu,) float64; the model's defaults
                where absent.
            mocap_pos, mocap_quat: (nmocap, 3), (nmocap, 4).

        Raises:
            ValueError: an array of another shape.
        """
        mujoco.mj_resetData(self.model, self.data)
        given = {"qpos": qpos, "qvel": qvel, "act": act, "ctrl": ctrl}
        given |= {"mocap_pos": mocap_pos, "mocap_quat": mocap_quat}
        for name, value in given.items():
            if value is not None:
                target = getattr(self.data, name)
                if np.shape(value) != target.shape:
                    raise ValueError(f"{name} must be {target.shape} (got {np.shape(value)})")
                target[:] = value
        mujoco.mj_forward(self.model, self.data)
        self.tick = 0
        self._snapshots: list[Snapshot] = []
        self._frames.clear()
        self._frame_bytes = 0
        self._store_snapshot()

    def step(self, ctrl: np.ndarray) -> None:
        """Advance ``n`` physics ticks, one row of controls each.

        Args:
            ctrl: (n, nu) float64.

        Raises:
            ValueError: ``ctrl`` is not (n, nu).
        """
        if ctrl.ndim != 2 or ctrl.shape[1] != self.model.nu:
            raise ValueError(f"ctrl must be (n, {self.model.nu}) (got {ctrl.shape})")
        model, data, out, mj_step = self.model, self.data, self.data.ctrl, mujoco.mj_step
        tick = self.tick
        for row in ctrl:
            out[:] = row
            mj_step(model, data)
            tick += 1
            if tick % TICKS_PER_CAMERA == 0:
                self._store_snapshot()
        self.tick = tick

    def _store_snapshot(self) -> None:
        data = self.data
        self._snapshots.append(
            Snapshot(data.qpos.copy(), data.mocap_pos.copy(), data.mocap_quat.copy())
        )

    def snapshot(self, tick: int) -> Snapshot:
        """The stored configuration of a camera tick of this episode.

        Raises:
            ValueError: ``tick`` is no camera tick, or lies outside the episode so far.
        """
        if tick % TICKS_PER_CAMERA or not 0 <= tick <= self.tick:
            raise ValueError(
                f"tick must be a multiple of {TICKS_PER_CAMERA} in [0, {self.tick}] (got {tick})"
            )
        return self._snapshots[tick // TICKS_PER_CAMERA]

    def camera_id(self, camera: str) -> int:
        """Index of a camera of the model.

        Raises:
            UnknownNameError: the model has no such camera.
        """
        if camera not in self._camera_ids:
            raise unknown_name("camera", camera, self._camera_ids)
        return self._camera_ids[camera]

    def frame(
        self, camera: str, tick: int, height: int, width: int, quality: str = "fast"
    ) -> np.ndarray:
        """The image of a past camera tick of this episode, drawn once and remembered.

        Args:
            camera: name of a camera of the model.
            tick: multiple of ``TICKS_PER_CAMERA``, at most ``self.tick``.
            height, width: pixels.
            quality: ``"fast"`` (observations); for people ``"video"`` (with shadows) or ``"view"``
                (also smooth edges); all the same under the ray-cast camera.

        Returns:
            (H, W, 3) uint8, a copy.

        Raises:
            UnknownNameError: no such camera. ValueError: no such tick.
        """
        key = (self.camera_id(camera), int(tick), height, width, quality)
        if key in self._frames:
            self._frames.move_to_end(key)
            return self._frames[key].copy()
        image = self._draw(self.snapshot(key[1]), key[0], height, width, quality)
        self._remember(key, image)
        return image.copy()

    def flow(self, camera: str, tick: int, before: int) -> np.ndarray:
        """How the picture of a past camera tick moved since an earlier one; measured once.

        Args:
            camera: name of a camera of the model.
            tick, before: multiples of ``TICKS_PER_CAMERA``, at most ``self.tick``.

        Returns:
            (36, 2) float32 cells, as ``neon_sim.simulation.flow`` says; a copy.

        Raises:
            UnknownNameError: no such camera. ValueError: no such tick.
        """
        key = (self.camera_id(camera), int(tick), int(before), 0, "flow")
        if key not in self._frames:
            from neon_sim.simulation.flow import FlowCamera, poses

            if self._flow_camera is None:
                self._flow_camera = FlowCamera(self.model)
            self._pose(self.snapshot(before))
            earlier = poses(self._draw_data, key[0])
            self._pose(self.snapshot(tick))
            self._remember(key, self._flow_camera.flow(self._draw_data, key[0], earlier))
        self._frames.move_to_end(key)
        return self._frames[key].copy()

    def render_now(self, camera: str, height: int, width: int, quality: str = "fast") -> np.ndarray:
        """The image of the current state, at any tick, not remembered: (H, W, 3) uint8."""
        data = self.data
        now = Snapshot(data.qpos, data.mocap_pos, data.mocap_quat)
        return self._draw(now, self.camera_id(camera), height, width, quality)

    def _draw(
        self, state: Snapshot, camera_id: int, height: int, width: int, quality: str
    ) -> np.ndarray:
        self._pose(state)
        return self._camera(height, width, quality).render(self._draw_data, camera_id)

    def _pose(self, state: Snapshot) -> None:
        """Put the second ``MjData`` into a past configuration."""
        model, data = self.model, self._draw_data
        data.qpos[:] = state.qpos
        if model.nmocap:
            data.mocap_pos[:], data.mocap_quat[:] = state.mocap_pos, state.mocap_quat
        mujoco.mj_kinematics(model, data)
        mujoco.mj_camlight(model, data)

    def _camera(self, height: int, width: int, quality: str) -> Camera:
        if self._camera_forks != forks:
            self._cameras, self._camera_forks = {}, forks
        key = (height, width, quality)
        if key not in self._cameras:
            for size in (height, width):
                hold("image size", size, Annotated[int, Interval(ge=1, le=MAX_PIXELS)])
            self._cameras[key] = make_camera(self.model, height, width, quality)
        return self._cameras[key]

    def _remember(self, key: tuple[int, int, int, int, str], image: np.ndarray) -> None:
        self._frames[key] = image
        self._frame_bytes += image.nbytes
        while self._frame_bytes > FRAME_CACHE_BYTES and len(self._frames) > 1:
            self._frame_bytes -= self._frames.popitem(last=False)[1].nbytes

    def state_hash(self) -> str:
        """Hex SHA-256 over the bytes of tick, qpos, qvel, act and mocap poses."""
        data = self.data
        digest = hashlib.sha256(str(self.tick).encode())
        for array in (data.qpos, data.qvel, data.act, data.mocap_pos, data.mocap_quat):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def close(self) -> None:
        """Free the cameras; drawing again makes new ones."""
        if self._camera_forks == forks:
            for camera in self._cameras.values():
                camera.close()
        self._cameras = {}

    def __getstate__(self) -> dict[str, Any]:
        kept = ("model", "data", "tick", "_snapshots")
        return {name: self.__dict__[name] for name in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._init_drawing()
