"""Spoken colour words for ArmSpoken, with the script that rendered them (``render.py``)."""
