"""Encoders of others: images, and video networks of images."""
