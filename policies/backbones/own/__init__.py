"""Backbones of this project; they need no hub."""
