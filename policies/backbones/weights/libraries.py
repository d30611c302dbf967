"""Import transformers and torchvision, also next to a CPU build of torch."""

from __future__ import annotations

import contextlib
import importlib.util
from pathlib import Path
from types import ModuleType

import torch

from neon_sim.errors import install_extra, require_package

_KEPT: list[torch.library.Library] = []  # its operators vanish when a library is garbage-collected


def mend_torchvision() -> None:
    """Make PyPI's torchvision, a CUDA build, importable next to a CPU build of torch.

    Its library of compiled operators cannot be loaded there, and its import then fails on two
    operators that have no schema. Declaring the two is enough for the image transforms that
    processors use. Nothing happens where the operators are.
    """
    found = importlib.util.find_spec("torchvision")
    if found is None or found.origin is None or torch.version.cuda is not None or _KEPT:
        return
    for library in Path(found.origin).parent.glob("_C*.so"):
        with contextlib.suppress(OSError):
            torch.ops.load_library(str(library))
    if hasattr(torch.ops.torchvision, "nms"):
        return
    declared = torch.library.Library("torchvision", "FRAGMENT")
    declared.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    declared.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _KEPT.append(declared)


def import_transformers() -> ModuleType:
    """Import ``transformers``; torchvision is made importable first.

    Raises:
        MissingPackageError: it is not installed.
    """
    mend_torchvision()
    return require_package("transformers", why="This backbone", install=install_extra("hub"))
