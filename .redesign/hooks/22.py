import sys

sys.path.insert(0, __file__.rpartition("/")[0])
from common import *

r = ROOT / "neon_sim/registry.py"
t = r.read_text()
assert "COMMANDS" not in t
t = t.replace(
    "POLICY_PARTS = Registry(",
    """# ``python -m neon_sim.<name>`` for what lives with the networks.
COMMANDS = Registry(
    "command",
    {
        "train": "neon_sim.policies.training.command:main",
        "pretrain": "neon_sim.policies.pretraining.trainer:main",
        "rl": "neon_sim.policies.ppo.command:main",
    },
)
POLICY_PARTS = Registry(""",
    1,
)
r.write_text(t)
face("rl", "policies/ppo/command.py")
