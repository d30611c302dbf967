"""Episodes as videos with sound, for people."""
