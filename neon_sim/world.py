"""The MuJoCo world: physics in a tight loop, and frames of the past drawn only when asked.

Physics never waits for a picture. Every camera tick (25 Hz) the world stores a snapshot
of the configuration (positions only, a few hundred bytes); a frame of that tick is drawn
later on a second ``MjData``, so it shows exactly ``qpos`` at that tick, and is remembered
for the rest of the episode.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import weakref
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Protocol

import numpy as np
from annotated_types import Interval

from neon_sim.clock import PHYSICS_DT_S, TICKS_PER_CAMERA
from neon_sim.errors import ConfigError, unknown_name
from neon_sim.gl import BACKEND, mujoco, new_context
from neon_sim.rules import hold

if TYPE_CHECKING:
    from neon_sim.flow import FlowCamera

FRAME_CACHE_BYTES = 32 * 2**20  # per world
# Measured: the shadow map, MSAA and tessellation decide a factor of a hundred on software GL.
FAST_QUALITY = {"shadowsize": 0, "offsamples": 0, "numslices": 12, "numstacks": 6, "numquads": 1}
VIEW_QUALITY = {"shadowsize": 1024, "offsamples": 4, "numslices": 28, "numstacks": 16}
VIDEO_QUALITY = {**VIEW_QUALITY, "shadowsize": 512, "offsamples": 0}  # 40 % of the time of "view"
QUALITIES = {"fast": FAST_QUALITY, "view": VIEW_QUALITY, "video": VIDEO_QUALITY}
MAX_PIXELS = 4096  # a side; larger buffers are beyond what off-screen GL promises
_EXTRA_SCENE_GEOMS = 256  # room for lights, cameras and other decoration
_ALL_CATEGORIES = mujoco.mjtCatBit.mjCAT_ALL.value
_HIDDEN_GROUP = 5  # of geoms; MuJoCo shows groups 0 to 2


class Camera(Protocol):
    """Draws one size of image of a model; a back end of ``World``."""

    def render(self, data: Any, camera_id: int) -> np.ndarray:
        """Draw ``data`` from a fixed camera as (H, W, 3) uint8."""

    def close(self) -> None:
        """Free what the camera holds."""


@contextmanager
def _render_settings(model: Any, height: int, width: int, quality: str) -> Iterator[None]:
    """Let ``model.vis`` ask for this buffer size and quality while a context is made."""
    vis, settings = model.vis, QUALITIES[quality]
    before = {name: getattr(vis.quality, name) for name in settings}
    size = vis.global_.offwidth, vis.global_.offheight
    try:
        vis.global_.offwidth, vis.global_.offheight = width, height
        for name, value in settings.items():
            setattr(vis.quality, name, value)
        yield
    finally:
        vis.global_.offwidth, vis.global_.offheight = size
        for name, value in before.items():
            setattr(vis.quality, name, value)


def frustum(fovy_deg: float, aspect: float) -> np.ndarray:
    """(3, 4) inward normals of the four sides of what a camera sees, in its own frame."""
    up = np.tan(np.radians(fovy_deg) / 2)
    sides = [[1, 0, -up * aspect], [-1, 0, -up * aspect], [0, 1, -up], [0, -1, -up]]
    normals = np.array(sides)
    return (normals / np.linalg.norm(normals, axis=1, keepdims=True)).T


def outside(model: Any, data: Any, camera_id: int, sides: np.ndarray) -> np.ndarray:
    """(ngeom,) bool: geoms of which a camera sees nothing, for certain.

    Args:
        sides: of the camera's ``frustum``. Planes, which are endless, are never outside; sizes
            may have been changed since the model was compiled.
    """
    bound = model.geom_rbound
    radius = np.maximum(bound, model.geom_size.sum(axis=1))
    turned = data.cam_xmat[camera_id].reshape(3, 3) @ sides
    inward = (data.geom_xpos - data.cam_xpos[camera_id]) @ turned
    return (inward.min(axis=1) < -radius) & (bound > 0.0)


def turn_shadows(scene: Any) -> None:
    """Turn the lights of a scene that cast shadows about the vertical until they shine along y.

    For a floor that slopes along one axis of the shadow map MuJoCo's depth offset (1.5 of a texel's
    slope) is enough, and for a floor that slopes along both it is not: near one corner, where map
    and look-up lie a texel apart, the floor shadows itself and is stippled black. The axes are
    MuJoCo's, and where the light has no x, one of them is level.
    """
    for light in scene.lights[: scene.nlight]:
        if light.castshadow:
            x, y, _ = light.dir
            light.dir[:2] = 0.0, np.copysign(np.hypot(x, y), y)


class GLCamera:
    """An off-screen GL buffer of exactly the image's size, with a quality of its own.

    The same MuJoCo calls as ``mujoco.Renderer``, fewer copies (measured: 10-20 us a frame). A
    ``"fast"`` camera leaves out geoms whose bounding sphere lies outside what it sees: the same
    pixels, and a third less time for a camera in a humanoid's head.

    Args:
        model: compiled model; its ``vis`` is changed only while the context is made.
        height, width: pixels.
        quality: a name of ``QUALITIES``.
    """

    def __init__(self, model: Any, height: int, width: int, quality: str) -> None:
        self._gl: Any = None
        self._context: Any = None
        self._model = model
        max_geom = 2 * model.ngeom + model.nsite + _EXTRA_SCENE_GEOMS
        self._scene = mujoco.MjvScene(model, max_geom)
        self._option, self._eye = mujoco.MjvOption(), mujoco.MjvCamera()
        self._eye.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._rect = mujoco.MjrRect(0, 0, width, height)
        self._pixels = np.empty((height, width, 3), dtype=np.uint8)
        plain = not (model.cam_sensorsize.any() or model.cam_projection.any())
        self._culls = quality == "fast" and plain
        self._shadows = QUALITIES[quality]["shadowsize"] > 0
        self._frusta = [frustum(fovy, width / height) for fovy in model.cam_fovy]
        self._gl = new_context(width, height)
        with _render_settings(model, height, width, quality):
            self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)

    def render(self, data: Any, camera_id: int) -> np.ndarray:
        """Draw ``data`` from a fixed camera as (H, W, 3) uint8."""
        self._eye.fixedcamid = camera_id
        groups = self._model.geom_group
        shown = groups.copy()
        try:
            if self._culls:
                sides = self._frusta[camera_id]
                groups[outside(self._model, data, camera_id, sides)] = _HIDDEN_GROUP
            mujoco.mjv_updateScene(
                self._model, data, self._option, None, self._eye, _ALL_CATEGORIES, self._scene
            )
        finally:
            groups[:] = shown
        if self._shadows:
            turn_shadows(self._scene)
        self._gl.make_current()
        mujoco.mjr_render(self._rect, self._scene, self._context)
        mujoco.mjr_readPixels(self._pixels, None, self._rect, self._context)
        return self._pixels[::-1].copy()  # GL's rows start at the bottom

    def close(self) -> None:
        """Free the buffer in its own context, then the context."""
        gl, self._gl = self._gl, None
        context, self._context = self._context, None
        if context is not None:
            gl.make_current()
            context.free()
        if gl is not None:
            gl.free()

    def __del__(self) -> None:
        self.close()


class Snapshot(NamedTuple):
    """What a frame needs to know of the past: (nq,), (nmocap, 3), (nmocap, 4) float64."""

    qpos: np.ndarray
    mocap_pos: np.ndarray
    mocap_quat: np.ndarray


_LIVE_CAMERAS: weakref.WeakSet[Any] = weakref.WeakSet()
_ABANDONED: list[Any] = []  # of the process this one was forked from: not ours to free
_forks = 0  # how many forks lie between this process and the one that imported us


def _count_fork() -> None:
    global _forks
    _forks += 1
    _ABANDONED.extend(_LIVE_CAMERAS)
    _LIVE_CAMERAS.clear()


os.register_at_fork(after_in_child=_count_fork)


def _close_cameras() -> None:
    for camera in list(_LIVE_CAMERAS):
        camera.close()


def make_camera(model: Any, height: int, width: int, quality: str = "fast") -> Camera:
    """Make a camera of this process' back end; it is freed before GL shuts down."""
    if BACKEND == "raycast":
        from neon_sim.raycast import RaycastCamera

        return RaycastCamera(model, height, width)
    camera = GLCamera(model, height, width, quality)
    if not _LIVE_CAMERAS:
        atexit.unregister(_close_cameras)  # MuJoCo has registered its own by now: run before it
        atexit.register(_close_cameras)
    _LIVE_CAMERAS.add(camera)
    return camera


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
        self._camera_forks = _forks
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
            (36, 2) float32 cells, as ``neon_sim.flow`` says; a copy.

        Raises:
            UnknownNameError: no such camera. ValueError: no such tick.
        """
        key = (self.camera_id(camera), int(tick), int(before), 0, "flow")
        if key not in self._frames:
            from neon_sim.flow import FlowCamera, poses

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
        if self._camera_forks != _forks:
            self._cameras, self._camera_forks = {}, _forks
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
        if self._camera_forks == _forks:
            for camera in self._cameras.values():
                camera.close()
        self._cameras = {}

    def __getstate__(self) -> dict[str, Any]:
        kept = ("model", "data", "tick", "_snapshots")
        return {name: self.__dict__[name] for name in kept}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._init_drawing()
