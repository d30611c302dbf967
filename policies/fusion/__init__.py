"""Fusions, one file each: tokens, proprioception and instruction into one context."""
