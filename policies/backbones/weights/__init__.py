"""Weights of others: where they are published, where they lie, how large they are."""
