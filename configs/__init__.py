"""Hydra YAML that fills the typed configs of ``neon_sim.config`` (``pkg://neon_sim.configs``)."""
