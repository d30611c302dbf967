"""The humanoid and its tasks, one file a task."""
