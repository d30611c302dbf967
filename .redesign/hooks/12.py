import sys

sys.path.insert(0, __file__.rpartition("/")[0])
from common import *

(
    ROOT / "neon_sim/config/__init__.py"
).write_text('''"""Typed configurations: dataclasses that YAML and the command line fill."""

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
''')

import re

p = ROOT / "neon_sim/config/policy.py"
t = p.read_text()
t = re.sub(r"__all__ = \[.*?\]\n\n", "", t, count=1, flags=re.S)
p.write_text(t)
import subprocess

subprocess.run(
    [
        str(ROOT / ".venv/bin/ruff"),
        "check",
        "-q",
        "--fix",
        "--select",
        "F401",
        "neon_sim/config/policy.py",
    ],
    cwd=ROOT,
)
