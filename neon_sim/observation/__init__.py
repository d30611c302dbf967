"""What a policy sees: clips, batches, the conditions of the ladder, wrappers."""

from neon_sim.observation.batch import ClipBatch, observe_row, stack_observations
from neon_sim.observation.clips import plan_clip
from neon_sim.observation.ladder import apply_condition

__all__ = ["ClipBatch", "apply_condition", "observe_row", "plan_clip", "stack_observations"]
