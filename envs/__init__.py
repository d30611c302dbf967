"""Robots and their tasks, one file per task. Gymnasium resolves the tasks by id."""
