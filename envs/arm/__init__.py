"""The arm and its tasks, one file a task."""
