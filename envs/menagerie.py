"""The published robots: where their files are, and our contact geoms on their bodies."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from neon_sim.errors import ConfigError
from neon_sim.robots import MODELS
from neon_sim.simulation.gl import mujoco

BODIES = MODELS  # values of the setting ``robot``


def menagerie_file(folder: str, name: str) -> Path:
    """Path of a published robot: ``MENAGERIE_ROOT/folder/name``.

    Raises:
        ConfigError: ``MENAGERIE_ROOT`` is unset, or holds no such file.
    """
    mend = (
        "Set MENAGERIE_ROOT to a checkout of github.com/google-deepmind/mujoco_menagerie, "
        "or use robot=primitive."
    )
    root = os.environ.get("MENAGERIE_ROOT")
    if not root:
        raise ConfigError(f"robot=menagerie needs the published meshes. {mend}")
    file = Path(root) / folder / name
    if not file.is_file():
        raise ConfigError(f"robot=menagerie: {file} does not exist. {mend}")
    return file


def copy_hull(source: mujoco.MjSpec, target: mujoco.MjSpec) -> None:
    """Add the colliding geoms of ``source`` to ``target``; only ``*_pad`` geoms are visible."""
    for geom in source.geoms:
        if not geom.conaffinity:
            continue
        pad = geom.name.endswith("_pad")  # the published meshes have no such part
        copy = target.body(geom.parent.name).add_geom(
            name=geom.name,
            type=geom.type,
            size=geom.size,
            pos=geom.pos,
            quat=geom.quat,
            contype=geom.contype,
            conaffinity=geom.conaffinity,
            condim=geom.condim,
            priority=geom.priority,
            friction=geom.friction,
            solref=geom.solref,
            solimp=geom.solimp,
            density=0.0,
            rgba=geom.rgba if pad else [0, 0, 0, 0],
            group=2 if pad else 3,
        )
        if not np.isnan(geom.fromto[0]):
            copy.fromto = geom.fromto
