"""Policies: a frozen backbone, a connector, a fusion and a trained action head.

The front door of the foundation backbones stands here:
``from neon_sim.policies import BackboneConfig, VideoBackbone``.
"""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["BackboneConfig", "BackboneInput", "VideoBackbone"]
_HOMES = {"BackboneConfig": "settings"}


def __getattr__(name: str) -> Any:
    """Import the front door when it is asked for, not with every policy."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOMES.get(name, "video_backbone")
    return getattr(importlib.import_module(f".backbones.foundation.{home}", __name__), name)
