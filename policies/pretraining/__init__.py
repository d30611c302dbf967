"""How the towers of neon_tiny are made."""
