import sys

sys.path.insert(0, __file__.rpartition("/")[0])
from common import *

doc = ast.get_docstring(
    ast.parse((ROOT / "neon_sim/demonstrations/collection.py").read_text()), clean=False
)
(ROOT / "neon_sim/collect.py").write_text(f'''"""{doc}"""

from __future__ import annotations

from neon_sim.demonstrations.collection import collect, main

__all__ = ["collect", "main"]

if __name__ == "__main__":
    raise SystemExit(main())
''')
old = ROOT / "neon_sim/demonstrations/collection.py"
t = old.read_text()
for tail in (
    '\n\nif __name__ == "__main__":\n    raise SystemExit(main())\n',
    '\n\nif __name__ == "__main__":\n    sys.exit(main())\n',
):
    t = t.replace(tail, "")
old.write_text(t.rstrip() + "\n")
