"""``python -m neon_sim.collect``: demonstrations of one or more tasks into a LeRobot dataset.

    python -m neon_sim.collect task=arm_catch,arm_block episodes=200 out=data/demos workers=2

Finished episodes lie in ``out/.shards`` until all are there; a run that was stopped, for
whatever reason, is continued by the same command, with nothing lost and nothing twice.
"""

from __future__ import annotations

from neon_sim.demonstrations.collection import collect, main

__all__ = ["collect", "main"]

if __name__ == "__main__":
    raise SystemExit(main())
