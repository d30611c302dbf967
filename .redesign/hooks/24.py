import sys

sys.path.insert(0, __file__.rpartition("/")[0])
from common import *

face("train", "policies/training/command.py")
p = ROOT / "benchmarks/perf/training.py"
t = p.read_text()
import re

t = re.sub(r"from neon_sim\.policies\.training\.feature_cache import build_cache\n", "", t)
t = re.sub(r"from neon_sim\.policies\.training\.settings import TrainConfig\n", "", t)
t = re.sub(r"from neon_sim\.policies\.training\.trainer import Trainer\n", "", t)
t = t.replace(
    "from .rows import", "from neon_sim.registry import POLICY_PARTS\n\nfrom .rows import", 1
)
t = t.replace(
    "    config = TrainConfig(condition",
    '    settings, head_trainer = (POLICY_PARTS.resolve(x) for x in ("train_settings", "head_trainer"))\n    config = settings(condition',
)
t = t.replace("trainer = Trainer(config", "trainer = head_trainer(config")
t = t.replace(
    "trainer: Trainer, config: TrainConfig, root", "trainer: Any, config: Any, root"
).replace("_steps(trainer: Trainer", "_steps(trainer: Any")
t = t.replace(
    "    for dataset in trainer.datasets:\n        build_cache(",
    '    build_cache = POLICY_PARTS.resolve("build_cache")\n    for dataset in trainer.datasets:\n        build_cache(',
)
p.write_text(t)
r = ROOT / "neon_sim/registry.py"
t = r.read_text()
t = t.replace(
    '        "load_policy": ',
    '        "build_cache": "neon_sim.policies.training.feature_cache:build_cache",\n        "head_trainer": "neon_sim.policies.training.trainer:Trainer",\n        "train_settings": "neon_sim.policies.training.settings:TrainConfig",\n        "load_policy": ',
    1,
)
r.write_text(t)
