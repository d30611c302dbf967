"""Typed configurations: dataclasses that YAML and the command line fill."""

from neon_sim.config.loading import config_names, load_config, main_config, parse_overrides
from neon_sim.config.policy import PolicyConfig
from neon_sim.observation.clips import ClipConfig

__all__ = [
    "ClipConfig",
    "PolicyConfig",
    "config_names",
    "load_config",
    "main_config",
    "parse_overrides",
]
