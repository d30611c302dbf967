"""Typed configurations: dataclasses that YAML and the command line fill."""

from neon_sim.config.loading import config_names, load_config, main_config, parse_overrides
from neon_sim.config.policy import ClipConfig, PolicyConfig

__all__ = [
    "ClipConfig",
    "PolicyConfig",
    "config_names",
    "load_config",
    "main_config",
    "parse_overrides",
]
