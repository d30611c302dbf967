"""Chooses how images are drawn, once, and exports ``mujoco``.

MuJoCo picks its OpenGL platform while it is imported: unset and headless means GLFW and a
crash at the first frame, and ``MUJOCO_GL=egl`` without EGL kills the import. So every
module of the project writes ``from neon_sim.simulation.gl import mujoco``; this one probes the
libraries first and sets ``MUJOCO_GL``. Contexts come from here (``new_context``), of the back end
that was chosen here, so a MuJoCo that somebody else imported before on another platform, or on
none, changes no pixel.

``NEON_RENDERER`` overrides: ``auto`` (default), ``egl`` (GPU or Mesa's software
rasteriser), ``osmesa``, ``raycast`` (no GL at all). An already set ``MUJOCO_GL`` is kept.
Nothing here creates a GL context: that happens lazily, in the process that draws. A wish that
cannot be met is an error there, too (``BACKEND`` is ``"none"``): what draws nothing runs.
"""

from __future__ import annotations

import functools
import importlib
import os
from typing import Any

from neon_sim.errors import NeonError, RendererError
from neon_sim.simulation.gl_probe import MENDS, choose_gl

_SOFTWARE = ("llvmpipe", "softpipe", "swrast", "software")

# Mesa's rasteriser draws in the calling thread (best for small images: measured 1104 against
# 580 frames/s); Mesa reads this when EGL starts, so it must come before any probe.
os.environ.setdefault("LP_NUM_THREADS", "0")
_TOLD = os.environ.get("MUJOCO_GL")
_trouble: NeonError | None = None
try:
    BACKEND = choose_gl(os.environ)
except NeonError as error:
    BACKEND, _trouble = "none", error
os.environ["MUJOCO_GL"] = "disable" if BACKEND in ("raycast", "none") else BACKEND

try:
    import mujoco  # the choice above must come first
except ImportError:  # before 4.0 it starts the platform, which may fail; or it is not there at all
    if BACKEND == "raycast":
        raise
    os.environ["MUJOCO_GL"] = "disable"
    import mujoco

    os.environ["MUJOCO_GL"] = BACKEND

if _trouble is not None:  # processes that this one starts come to the same end
    del os.environ["MUJOCO_GL"]
    if _TOLD is not None:
        os.environ["MUJOCO_GL"] = _TOLD


@functools.cache
def _context_class() -> type[Any]:
    """The chosen back end's ``GLContext``, whichever of them MuJoCo itself was imported on.

    Only its owner frees it, and not its ``__del__``: what was made in it goes first.
    """
    theirs: type[Any] = importlib.import_module(f"mujoco.{BACKEND}").GLContext
    return type("OwnedGLContext", (theirs,), {"__del__": lambda context: None})


def new_context(width: int, height: int) -> Any:
    """Make a GL context of the chosen back end and make it current.

    Args:
        width, height: pixels, for back ends whose buffer belongs to the context.

    Returns:
        MuJoCo's ``GLContext``: ``make_current()``, and ``free()``, which the caller must call.

    Raises:
        RendererError: the back end cannot make one here.
        UnknownNameError: the environment asks for a back end that nobody knows.
    """
    if _trouble is not None:
        raise _trouble
    try:
        context = _context_class()(width, height)
        context.make_current()
    except Exception as error:  # PyOpenGL and the drivers raise many kinds
        raise RendererError(
            f"the renderer {BACKEND!r} cannot make a GL context ({error}). Install it: "
            f"{MENDS.get(BACKEND, MENDS['egl'])}, or set NEON_RENDERER=raycast."
        ) from error
    return context


@functools.cache
def _gl_renderer(pid: int) -> str:
    """GL's name for what draws in process ``pid`` (cached per process, so a fork asks anew)."""
    del pid
    context = new_context(16, 16)
    try:
        from OpenGL import GL

        name: bytes = GL.glGetString(GL.GL_RENDERER)
        return name.decode()
    finally:
        context.free()


def renderer_info() -> dict[str, Any]:
    """What draws the images of this process, as results record it.

    Returns:
        ``backend`` (``"egl"``, ``"osmesa"``, ``"glfw"``, ``"raycast"``), ``gl_renderer``
        (GL's own string, such as ``"llvmpipe (LLVM 15.0.6, 256 bits)"``) and ``software``
        (True when no GPU draws).

    Raises:
        RendererError, UnknownNameError: see ``new_context``.
    """
    if BACKEND == "raycast":
        return {"backend": "raycast", "gl_renderer": "none (mj_multiRay)", "software": True}
    name = _gl_renderer(os.getpid())
    software = any(word in name.lower() for word in _SOFTWARE)
    return {"backend": BACKEND, "gl_renderer": name, "software": software}


__all__ = ["BACKEND", "mujoco", "new_context", "renderer_info"]
