"""A fixed set of behaviour, held to the bit while the house is rebuilt; see ``play.py``."""
