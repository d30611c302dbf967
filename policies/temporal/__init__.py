"""Temporal mechanisms, one file a family: how the tokens of several frames become one scene."""
