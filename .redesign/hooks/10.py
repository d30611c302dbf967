import sys, pathlib

r = pathlib.Path(sys.argv[1]) / "neon_sim/registry.py"
t = r.read_text()
old = 'path = f"neon_sim.envs.{name}:{camel}"'
assert old in t
t = t.replace(old, "path = f\"neon_sim.envs.humanoid.{name.removeprefix('humanoid_')}:{camel}\"")
r.write_text(t)
