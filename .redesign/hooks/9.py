import sys, pathlib

r = pathlib.Path(sys.argv[1]) / "neon_sim/registry.py"
t = r.read_text()
a, b = t.split("def _humanoid(", 1)
old = 'path = f"neon_sim.envs.{name}:{camel}"'
assert old in a and old in b
t = (
    a.replace(old, "path = f\"neon_sim.envs.arm.{name.removeprefix('arm_')}:{camel}\"")
    + "def _humanoid("
    + b
)
r.write_text(t)
