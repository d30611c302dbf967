import sys

sys.path.insert(0, __file__.rpartition("/")[0])
from common import *

r = ROOT / "neon_sim/registry.py"
t = r.read_text()
t = t.replace('"neon_sim.policies.backbones.encoders.', 'f"{_ENCODERS}.')
t = t.replace(
    "BACKBONES = Registry(",
    '_ENCODERS = "neon_sim.policies.backbones.encoders"\n\nBACKBONES = Registry(',
    1,
)
r.write_text(t)
