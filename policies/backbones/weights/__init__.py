"""Weights of other people: where they are published, how they are loaded, how large they are."""
