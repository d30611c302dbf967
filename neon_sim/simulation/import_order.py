"""Makes it safe to import triton after something was drawn, whoever draws and whoever imports.

PyPI's torch for x86-64 brings triton, and ``torch.optim`` imports it. Its ``libtriton.so`` holds an
LLVM of its own and exports every symbol of it. Mesa's loader opens its rasteriser, and with it
the system's ``libLLVM``, with ``RTLD_GLOBAL``; a ``libtriton.so`` that is opened afterwards is
bound to that other LLVM and the process dies (SIGSEGV in a static initialiser). The other
order is harmless. ``RTLD_DEEPBIND`` lets a library prefer its own symbols, as it would if
nothing had been drawn.

The hook costs nothing until triton is imported, and leaves it alone where no LLVM is global.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec, PathFinder
from types import ModuleType

_COMPILED = "triton._C."  # the package of triton's extension modules
_LLVM_SYMBOL = "LLVMContextCreate"  # of LLVM's C interface, in every version


def foreign_llvm() -> bool:
    """Whether a library opened from now on would be bound to somebody else's LLVM."""
    return hasattr(ctypes.CDLL(None), _LLVM_SYMBOL)


class OwnSymbolsFirst(MetaPathFinder):
    """Opens triton's libraries before Python does, so that they find their own LLVM first."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Always None: the module itself is found and made by the finders that follow."""
        del target
        if not fullname.startswith(_COMPILED) or not foreign_llvm():
            return None
        spec = PathFinder.find_spec(fullname, path)
        if spec is not None and spec.origin and spec.origin.endswith(tuple(EXTENSION_SUFFIXES)):
            with contextlib.suppress(OSError):  # Python opens it next and says what is wrong
                ctypes.CDLL(spec.origin, mode=os.RTLD_NOW | os.RTLD_LOCAL | os.RTLD_DEEPBIND)
        return None


def watch_triton() -> None:
    """Put the hook before Python's finders, once; nothing to do where the linker is not glibc's."""
    if hasattr(os, "RTLD_DEEPBIND") and not any(
        isinstance(finder, OwnSymbolsFirst) for finder in sys.meta_path
    ):
        sys.meta_path.insert(0, OwnSymbolsFirst())
