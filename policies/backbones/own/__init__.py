"""Backbones that need no hub."""
