"""Connectors, one file each: the tokens of a frame down to what the fusion takes."""
