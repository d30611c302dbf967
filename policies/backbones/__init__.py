"""Frozen encoders, one file each: a clip in, tokens out."""
