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

import functools
import os
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

from neon_sim.errors import RendererError
from neon_sim.gl_probe import MENDS, asked_renderer, choose_gl

_SOFTWARE = ("llvmpipe", "softpipe", "swrast", "software")


def _apply(backend: str, environ: MutableMapping[str, str]) -> None:
    """Write the choice where MuJoCo looks for it."""
    environ["MUJOCO_GL"] = "disable" if backend == "raycast" else backend


def _found_backend(environ: Mapping[str, str]) -> str:
    """The back end of a MuJoCo that somebody else imported first."""
    asked = asked_renderer(environ)
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


# Mesa's rasteriser draws in the calling thread (best for small images: measured 1104 against
# 580 frames/s); Mesa reads this when EGL starts, so it must come before any probe.
os.environ.setdefault("LP_NUM_THREADS", "0")
IMPORTED_BEFORE = "mujoco" in sys.modules
if IMPORTED_BEFORE:
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


__all__ = ["BACKEND", "mujoco", "renderer_info"]
