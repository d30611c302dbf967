"""How large each head is for each action mode: the table in CONTRIBUTING.md, which a test holds.

``python -m neon_sim.policies.heads.parameters`` prints it.
"""

from __future__ import annotations

import torch

from neon_sim.command import Parser, entry_point
from neon_sim.registry import HEADS

# Action dimensions of the arm and of a 29-joint humanoid's modes; three more drive its gait.
ACTION_MODES = {
    "arm": 8,
    "humanoid arms": 17,
    "humanoid upper body": 20,
    "humanoid joints": 29,
    "humanoid whole body": 32,
}
CONTEXT_DIM = 264  # of the default fusion and the arm's proprioception


def count_parameters(head: str, action_dim: int, context_dim: int = CONTEXT_DIM) -> int:
    """Trainable numbers of a head with its default arguments; nothing is allocated.

    Raises:
        UnknownNameError: no such head.
    """
    with torch.device("meta"):
        built = HEADS.resolve(head)(context_dim, action_dim)
    return sum(parameter.numel() for parameter in built.parameters())


def parameter_table(context_dim: int = CONTEXT_DIM) -> str:
    """Markdown: one row a registered head, one column an action mode."""
    titles = [f"{mode} ({dim})" for mode, dim in ACTION_MODES.items()]
    lines = ["| " + " | ".join(["head", *titles]) + " |", "|---" * (len(titles) + 1) + "|"]
    for head in HEADS:
        counts = [f"{count_parameters(head, dim, context_dim):,}" for dim in ACTION_MODES.values()]
        lines.append("| " + " | ".join([f"`{head}`", *counts]) + " |")
    return "\n".join(lines)


def build_parser() -> Parser:
    """The command line, which takes nothing."""
    return Parser(prog="python -m neon_sim.policies.heads.parameters", description=__doc__)


@entry_point("parameters")
def main(argv: list[str]) -> int:
    """Print the table; returns the exit code."""
    build_parser().parse_args(argv)
    print(parameter_table())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
