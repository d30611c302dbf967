"""Cameras: OpenGL contexts, their settings, and the pictures they draw."""

from __future__ import annotations

import atexit
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from neon_sim.simulation.gl import BACKEND, mujoco, new_context

if TYPE_CHECKING:
    pass


# Measured: the shadow map, MSAA and tessellation decide a factor of a hundred on software GL.
FAST_QUALITY = {"shadowsize": 0, "offsamples": 0, "numslices": 12, "numstacks": 6, "numquads": 1}


VIEW_QUALITY = {"shadowsize": 1024, "offsamples": 4, "numslices": 28, "numstacks": 16}


VIDEO_QUALITY = {**VIEW_QUALITY, "shadowsize": 512, "offsamples": 0}  # 40 % of the time of "view"


QUALITIES = {"fast": FAST_QUALITY, "view": VIEW_QUALITY, "video": VIDEO_QUALITY}


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
    units: np.ndarray = (normals / np.linalg.norm(normals, axis=1, keepdims=True)).T
    return units


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
    hidden: np.ndarray = (inward.min(axis=1) < -radius) & (bound > 0.0)
    return hidden


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


_LIVE_CAMERAS: weakref.WeakSet[Any] = weakref.WeakSet()


_ABANDONED: list[Any] = []  # of the process this one was forked from: not ours to free


forks = 0  # how many forks lie between this process and the one that imported us


def count_fork() -> None:
    global forks
    forks += 1
    _ABANDONED.extend(_LIVE_CAMERAS)
    _LIVE_CAMERAS.clear()


def _close_cameras() -> None:
    for camera in list(_LIVE_CAMERAS):
        camera.close()


def make_camera(model: Any, height: int, width: int, quality: str = "fast") -> Camera:
    """Make a camera of this process' back end; it is freed before GL shuts down."""
    if BACKEND == "raycast":
        from neon_sim.simulation.raycast import RaycastCamera

        return RaycastCamera(model, height, width)
    camera = GLCamera(model, height, width, quality)
    if not _LIVE_CAMERAS:
        atexit.unregister(_close_cameras)  # MuJoCo has registered its own by now: run before it
        atexit.register(_close_cameras)
    _LIVE_CAMERAS.add(camera)
    return camera
