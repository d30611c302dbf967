"""The arm and its tasks, one file per task."""
