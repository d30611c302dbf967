import sys, pathlib, ast

ROOT = pathlib.Path(sys.argv[1])


def face(name, target):
    old = ROOT / target
    doc = ast.get_docstring(ast.parse(old.read_text()), clean=False)
    (ROOT / f"neon_sim/{name}.py").write_text(f'''"""{doc}"""

from __future__ import annotations

import inspect
from typing import Any

from neon_sim.registry import COMMANDS


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return int(COMMANDS.resolve("{name}")(argv))


def __getattr__(name: str) -> Any:
    """What the command's own module offers to callers from Python."""
    if name.startswith("__"):
        raise AttributeError(name)
    return getattr(inspect.getmodule(COMMANDS.resolve("{name}")), name)


if __name__ == "__main__":
    raise SystemExit(main())
''')
    t = old.read_text()
    for tail in (
        '\n\nif __name__ == "__main__":\n    raise SystemExit(main())\n',
        '\n\nif __name__ == "__main__":\n    sys.exit(main())\n',
    ):
        t = t.replace(tail, "")
    old.write_text(t.rstrip() + "\n")
