"""The humanoid and its tasks, one file per task."""
