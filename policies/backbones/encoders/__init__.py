"""Encoders of other people: image encoders and video networks."""
