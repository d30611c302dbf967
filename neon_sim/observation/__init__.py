"""What a policy sees: clips, batches, the conditions of the ladder, wrappers."""

from neon_sim.observation.batch import NEEDS, ClipBatch, observe_row, stack_observations
from neon_sim.observation.clips import ClipConfig, plan_clip
from neon_sim.observation.ladder import apply_condition
from neon_sim.observation.wrappers import FlattenPixels, TemporalClip

__all__ = [
    "NEEDS",
    "ClipBatch",
    "ClipConfig",
    "FlattenPixels",
    "TemporalClip",
    "apply_condition",
    "observe_row",
    "plan_clip",
    "stack_observations",
]
