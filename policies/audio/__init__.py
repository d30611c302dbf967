"""Encoders of sound, one file each: the last second at the microphones into tokens, frozen."""
