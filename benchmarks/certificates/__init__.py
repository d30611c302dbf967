"""The proofs that a task needs history, needs none, or needs ears."""
