"""Chooses how images are drawn, once, before MuJoCo is imported, and exports ``mujoco``.

MuJoCo picks its OpenGL platform while it is imported: unset and headless means GLFW and a
crash at the first frame, and ``MUJOCO_GL=egl`` without EGL kills the import. So every
module of the project writes ``from neon_sim.gl import mujoco``; this one probes the
libraries first, sets ``MUJOCO_GL`` and records what it chose.

``NEON_RENDERER`` overrides: ``auto`` (default), ``egl`` (GPU or Mesa's software
rasteriser), ``osmesa``, ``raycast`` (no GL at all). An already set ``MUJOCO_GL`` is kept.
Nothing here creates a GL context: that happens lazily, in the process that draws.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import os
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

from neon_sim.errors import RendererError, unknown_name

RENDERERS = ("auto", "egl", "osmesa", "raycast")
MENDS = {
    "egl": "apt-get install libegl1 libgl1 libgl1-mesa-dri",
    "osmesa": "apt-get install libosmesa6",
    "glfw": "start a display server or unset MUJOCO_GL",
}
_OFF = ("disable", "disabled", "off", "false", "0")
_SOFTWARE = ("llvmpipe", "softpipe", "swrast", "software")
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


def _require(backend: str, asked_by: str) -> str:
    if backend in _PROBES and not available(backend):
        raise RendererError(
            f"{asked_by} asks for the renderer {backend!r}, which cannot start on this machine. "
            f"Install it ({MENDS[backend]}) or set NEON_RENDERER=auto and unset MUJOCO_GL."
        )
    return backend


def choose_gl(environ: Mapping[str, str]) -> str:
    """Decide the back end from the environment and from what this machine can run.

    Args:
        environ: environment variables; ``NEON_RENDERER`` wins over ``MUJOCO_GL``.

    Returns:
        ``"egl"``, ``"osmesa"``, ``"raycast"``, or what ``MUJOCO_GL`` says (``"glfw"``).

    Raises:
        UnknownNameError: ``NEON_RENDERER`` is none of ``RENDERERS``.
        RendererError: the back end that was asked for cannot start here.
    """
    asked = environ.get("NEON_RENDERER", "auto").lower().strip() or "auto"
    if asked not in RENDERERS:
        raise unknown_name("renderer (NEON_RENDERER)", asked, RENDERERS)
    if asked != "auto":
        return _require(asked, f"NEON_RENDERER={asked}")
    preset = environ.get("MUJOCO_GL", "").lower().strip()
    if preset in _OFF:
        return "raycast"
    if preset:
        return _require(preset, f"MUJOCO_GL={preset}")
    return next(name for name in ("egl", "osmesa", "raycast") if available(name))


def _apply(backend: str, environ: MutableMapping[str, str]) -> None:
    """Write the choice where MuJoCo and Mesa look for it."""
    environ["MUJOCO_GL"] = "disable" if backend == "raycast" else backend
    environ.setdefault("LP_NUM_THREADS", "0")  # llvmpipe in the caller: best for small images


def _found_backend(environ: Mapping[str, str]) -> str:
    """The back end of a MuJoCo that somebody else imported first."""
    asked = environ.get("NEON_RENDERER", "auto").lower().strip() or "auto"
    if asked not in RENDERERS:
        raise unknown_name("renderer (NEON_RENDERER)", asked, RENDERERS)
    if asked == "raycast":
        return "raycast"
    context = getattr(sys.modules.get("mujoco.rendering.classic.gl_context"), "GLContext", None)
    module = getattr(context, "__module__", "")
    found = next((name for name in ("egl", "osmesa", "glfw") if module.endswith(name)), "raycast")
    if found == "glfw" and not (environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY")):
        found = "raycast"  # GLFW without a display cannot draw
    if asked not in ("auto", found):
        raise RendererError(
            f"NEON_RENDERER={asked}, but mujoco was imported earlier and runs on {found}. "
            f"Import neon_sim before mujoco, or set MUJOCO_GL={asked} first."
        )
    return found


IMPORTED_BEFORE = "mujoco" in sys.modules
if IMPORTED_BEFORE:
    os.environ.setdefault("LP_NUM_THREADS", "0")
    BACKEND = _found_backend(os.environ)
else:
    BACKEND = choose_gl(os.environ)
    _apply(BACKEND, os.environ)

import mujoco  # noqa: E402  (the choice above must come first)


@functools.cache
def _gl_renderer(pid: int) -> str:
    """GL's name for what draws in process ``pid`` (cached per process, so a fork asks anew)."""
    del pid
    from OpenGL import GL

    context = mujoco.GLContext(16, 16)
    try:
        context.make_current()
        return GL.glGetString(GL.GL_RENDERER).decode()
    finally:
        context.free()


def renderer_info() -> dict[str, Any]:
    """What draws the images of this process, as results record it.

    Returns:
        ``backend`` (``"egl"``, ``"osmesa"``, ``"glfw"``, ``"raycast"``), ``gl_renderer``
        (GL's own string, such as ``"llvmpipe (LLVM 15.0.6, 256 bits)"``) and ``software``
        (True when no GPU draws).

    Raises:
        RendererError: the chosen back end cannot make a context.
    """
    if BACKEND == "raycast":
        return {"backend": "raycast", "gl_renderer": "none (mj_multiRay)", "software": True}
    try:
        name = _gl_renderer(os.getpid())
    except Exception as error:  # PyOpenGL and the drivers raise many kinds
        raise RendererError(
            f"the renderer {BACKEND!r} cannot make a GL context ({error}). Install it: "
            f"{MENDS.get(BACKEND, MENDS['egl'])}, or set NEON_RENDERER=raycast."
        ) from error
    software = any(word in name.lower() for word in _SOFTWARE)
    return {"backend": BACKEND, "gl_renderer": name, "software": software}


__all__ = ["BACKEND", "MENDS", "RENDERERS", "available", "choose_gl", "mujoco", "renderer_info"]
