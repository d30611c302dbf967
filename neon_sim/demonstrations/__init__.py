"""Demonstrations on disk: LeRobot v3 datasets, how they are recorded and read."""
