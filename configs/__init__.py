"""Hydra YAML that fills the typed configs of ``neon_sim.config.policy`` (``pkg://neon_sim.configs``)."""
