"""Every module of the project that has a command line."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def mains() -> list[str]:
    """Modules with a command line of their own, found by what they end in."""
    found = []
    for folder in ("neon_sim", "envs", "policies", "benchmarks", "assets"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if '__name__ == "__main__"' in path.read_text():
                below = path.relative_to(ROOT).with_suffix("").parts
                found.append(".".join(below if folder == "neon_sim" else ("neon_sim", *below)))
    return found
