"""What can draw on this machine, found by probing libraries, and which of it to use.

Importing this has no effect on the process: ``neon_sim.simulation.gl`` applies the choice, the
doctor reports it, and tests ask it about made-up environments.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import sys
from collections.abc import Mapping

from neon_sim.errors import RendererError, unknown_name

RENDERERS = ("auto", "egl", "osmesa", "raycast")
MENDS = {
    "egl": "apt-get install libegl1 libgl1 libgl1-mesa-dri",
    "osmesa": "apt-get install libosmesa6",
    "glfw": "start a display server (DISPLAY, WAYLAND_DISPLAY) or unset MUJOCO_GL",
}
# What MuJoCo takes for MUJOCO_GL; "on" and its likes leave the choice to whoever reads it.
_OFF = ("disable", "disabled", "off", "false", "0")
_ON = ("enable", "enabled", "on", "true", "1")
_PLATFORMS = {"egl": "egl", "osmesa": "osmesa", "glfw": "glfw", "glx": "glfw"}
_DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")
_EGL_PLATFORM_DEVICE = 0x313F  # EGL_EXT_platform_device
_MAX_EGL_DEVICES = 16


def _probe_egl() -> bool:
    """Whether some EGL device can be initialised (what MuJoCo does at its first context)."""
    name = ctypes.util.find_library("EGL")
    if name is None or ctypes.util.find_library("GL") is None:
        return False
    try:
        egl = ctypes.CDLL(name)
        egl.eglGetProcAddress.restype = ctypes.c_void_p
        query = egl.eglGetProcAddress(b"eglQueryDevicesEXT")
        get_display = egl.eglGetProcAddress(b"eglGetPlatformDisplayEXT")
    except (OSError, AttributeError):
        return False
    if not query or not get_display:
        return False
    void = ctypes.c_void_p
    devices, count = (void * _MAX_EGL_DEVICES)(), ctypes.c_int()
    query_type = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_int, void, void)
    display_type = ctypes.CFUNCTYPE(void, ctypes.c_uint, void, void)
    if not query_type(query)(_MAX_EGL_DEVICES, devices, ctypes.byref(count)):
        return False
    egl.eglInitialize.argtypes = [void, void, void]
    for device in devices[: count.value]:
        display = display_type(get_display)(_EGL_PLATFORM_DEVICE, device, None)
        if display and egl.eglInitialize(display, None, None):
            return True
    return False


def _probe_osmesa() -> bool:
    """Whether OSMesa can be loaded and makes contexts the way MuJoCo asks for them."""
    name = ctypes.util.find_library("OSMesa")
    if name is None:
        return False
    try:
        return hasattr(ctypes.CDLL(name), "OSMesaCreateContextExt")
    except OSError:
        return False


_PROBES = {"egl": _probe_egl, "osmesa": _probe_osmesa}


@functools.cache
def available(backend: str) -> bool:
    """Whether ``"egl"``, ``"osmesa"`` or ``"raycast"`` can run here (probed once)."""
    return backend == "raycast" or (backend in _PROBES and _PROBES[backend]())


def _require(backend: str, asked_by: str, environ: Mapping[str, str]) -> str:
    if backend == "glfw":
        starts = sys.platform != "linux" or any(environ.get(name) for name in _DISPLAYS)
    else:
        starts = available(backend)
    if not starts:
        raise RendererError(
            f"{asked_by} asks for the renderer {backend!r}, which cannot start on this machine. "
            f"Mend it ({MENDS[backend]}) or set NEON_RENDERER=auto and unset MUJOCO_GL."
        )
    return backend


def asked_renderer(environ: Mapping[str, str]) -> str:
    """The value of ``NEON_RENDERER``, ``"auto"`` when unset.

    Raises:
        UnknownNameError: it is none of ``RENDERERS``.
    """
    asked = environ.get("NEON_RENDERER", "").lower().strip() or "auto"
    if asked not in RENDERERS:
        raise unknown_name("renderer (NEON_RENDERER)", asked, RENDERERS)
    return asked


def asked_platform(environ: Mapping[str, str]) -> str:
    """The value of ``MUJOCO_GL``, ``""`` when unset.

    Raises:
        UnknownNameError: it is nothing that MuJoCo takes.
    """
    asked = environ.get("MUJOCO_GL", "").lower().strip()
    if asked and asked not in (*_PLATFORMS, *_OFF, *_ON):
        raise unknown_name("renderer (MUJOCO_GL)", asked, (*_PLATFORMS, *_OFF, *_ON))
    return asked


def check_wishes(environ: Mapping[str, str]) -> None:
    """Hold the environment's words about drawing to those that mean something; probes nothing.

    Raises:
        UnknownNameError: ``NEON_RENDERER``, or ``MUJOCO_GL`` where that decides, is no such word.
    """
    if asked_renderer(environ) == "auto":
        asked_platform(environ)


def choose_gl(environ: Mapping[str, str]) -> str:
    """Decide the back end from the environment and from what this machine can run.

    Args:
        environ: environment variables; ``NEON_RENDERER`` wins over ``MUJOCO_GL``.

    Returns:
        ``"egl"``, ``"osmesa"``, ``"raycast"``, or ``"glfw"`` where ``MUJOCO_GL`` says so.

    Raises:
        UnknownNameError: ``NEON_RENDERER`` is none of ``RENDERERS``, or ``MUJOCO_GL`` nothing
            that MuJoCo takes.
        RendererError: the back end that was asked for cannot start here.
    """
    asked = asked_renderer(environ)
    if asked != "auto":
        return _require(asked, f"NEON_RENDERER={asked}", environ)
    preset = asked_platform(environ)
    if preset in _OFF:
        return "raycast"
    if preset in _PLATFORMS:
        return _require(_PLATFORMS[preset], f"MUJOCO_GL={preset}", environ)
    found = next(name for name in ("egl", "osmesa", "raycast") if available(name))
    if preset and found == "raycast":
        return _require("egl", f"MUJOCO_GL={preset}", environ)
    return found
