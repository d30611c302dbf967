import sys

sys.path.insert(0, __file__.rpartition("/")[0])
from common import *

(
    ROOT / "neon_sim/observation/__init__.py"
).write_text('''"""What a policy sees: clips, batches, the conditions of the ladder, wrappers."""

from neon_sim.observation.batch import ClipBatch, observe_row, stack_observations
from neon_sim.observation.clips import plan_clip
from neon_sim.observation.ladder import apply_condition

__all__ = ["ClipBatch", "apply_condition", "observe_row", "plan_clip", "stack_observations"]
''')
