"""The arm embodiment and its tasks, one file a task; Gymnasium resolves them by id."""
