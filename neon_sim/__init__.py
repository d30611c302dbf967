"""neon_sim: the ground that every room stands on. Importing it registers the Gymnasium ids."""

from __future__ import annotations

import sys

import gymnasium

from neon_sim.registry import TASKS
from neon_sim.simulation.import_order import watch_triton

__version__ = "0.1.0"

if getattr(sys, "argv", [])[:1] == ["-m"]:  # python -m neon_sim...: Ctrl-C while it imports
    from neon_sim.command import quiet_ctrl_c

    quiet_ctrl_c()

watch_triton()
for _task in TASKS.values():
    if _task.env_id not in gymnasium.registry:
        gymnasium.register(
            id=_task.env_id,
            entry_point=_task.entry_point,
            max_episode_steps=_task.episode_steps,
        )
