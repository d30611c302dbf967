"""``python -m neon_sim.benchmarks.balance``: who stays up under which push, paired.

The episodes of ``HumanoidBalance`` (two pushes of one impulse each), the same to the bit under
every lower body; the policy holds the standing pose, so that what differs is what keeps it up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import gymnasium
from annotated_types import Interval
from tqdm import tqdm

import neon_sim  # noqa: F401  (registers the Gymnasium ids)
from neon_sim.command import entry_point
from neon_sim.config.loading import main_config
from neon_sim.errors import ConfigError
from neon_sim.files import hold_file, write_json
from neon_sim.registry import TASKS
from neon_sim.robots import check_body
from neon_sim.rules import Episodes, Seed, hold_rules

from .analysis.statistics import PairedTable, mcnemar_exact, newcombe_paired, wilson
from .analysis.tables import align, p_text, percent, span

COMMAND = "python -m neon_sim.benchmarks.balance"
TASK = "humanoid_balance"
Impulse = Annotated[float, Interval(ge=0, le=1000)]  # N s


@dataclass
class BalanceConfig:
    """Survival under pushes, one lower body against others.

    Attributes:
        lower: what keeps the humanoid up; the first is the reference.
        impulses: N s of both pushes of an episode.
        episodes: of every impulse and lower body.
        seed: run seed.
        out: file for the result (JSON); none when empty.
    """

    lower: list[str] = field(default_factory=lambda: ["standing", "reflex", "learned"])
    impulses: list[Impulse] = field(default_factory=lambda: [5.0, 10.0, 15.0])
    episodes: Episodes = 200
    seed: Seed = 0
    out: str = ""

    def validate(self) -> None:
        """Hold the rules of the docstring.

        Raises:
            ConfigError: a value outside its rule. UnknownNameError: no such lower body.
        """
        hold_rules(self)
        for name in ("lower", "impulses"):
            if not getattr(self, name):
                raise ConfigError(f"{name} must name one or more (got []); leave {name}= out")
        for lower in self.lower:
            check_body([TASK], "", lower)


def survivals(lower: str, impulse: float, episodes: int, seed: int, bar: Any = None) -> list[bool]:
    """Whether the robot is up at the end of each episode.

    Args:
        lower: what keeps it up. impulse: of each push, N s. episodes, seed: which.
        bar: updated after every episode.

    Raises:
        NeonError: no such lower body, or its weights are missing.
    """
    env: Any = gymnasium.make(
        TASKS[TASK].env_id,
        disable_env_checker=True,
        cameras=(),
        lower=lower,
        impulse_ns=impulse,
    ).unwrapped
    ups = []
    for episode in range(episodes):
        env.reset(seed=seed, options={"episode": episode})
        action, over, info = env.expert_action(), False, {"is_success": False}
        while not over:
            _, terminated, truncated, info = env.advance(action)
            over = terminated or truncated
        ups.append(bool(info["is_success"]))
        if bar is not None:
            bar.update()
    env.close()
    return ups


def compare(config: BalanceConfig, progress: bool = True) -> list[dict[str, Any]]:
    """One row an impulse and lower body; the first lower body is what others are paired with."""
    rows: list[dict[str, Any]] = []
    total = len(config.lower) * len(config.impulses) * config.episodes
    with tqdm(total=total, desc="balance", unit="episode", disable=not progress) as bar:
        for impulse in config.impulses:
            first: list[bool] = []
            for lower in config.lower:
                ups = survivals(lower, impulse, config.episodes, config.seed, bar)
                first = first or ups
                rows.append(_row(lower, impulse, ups, first))
    return rows


def _row(lower: str, impulse: float, ups: list[bool], first: list[bool]) -> dict[str, Any]:
    table = PairedTable.of(ups, first)
    interval, difference = wilson(sum(ups), len(ups)), newcombe_paired(table)
    return {
        "impulse_ns": impulse,
        "lower": lower,
        "n": len(ups),
        "survived": sum(ups),
        "interval": list(interval),
        "difference": table.difference,
        "difference_interval": list(difference),
        "p": mcnemar_exact(table.only_a, table.only_b),
    }


def text(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a table."""
    table = [("N s", "lower body", "n", "up", "rate %", "95 % interval", "difference", "p")]
    for row in rows:
        paired = f"{percent(row['difference'])} {span(row['difference_interval'])}"
        table.append(
            (
                f"{row['impulse_ns']:g}",
                row["lower"],
                str(row["n"]),
                str(row["survived"]),
                percent(row["survived"] / row["n"]),
                span(row["interval"]),
                paired if row["lower"] != rows[0]["lower"] else "",
                p_text(row["p"]) if row["lower"] != rows[0]["lower"] else "",
            )
        )
    return align(table, right=(0, 2, 3, 4))


@entry_point("balance", "nothing was written")
def main(argv: list[str]) -> int:
    """Run the command; returns the exit code."""
    config = main_config(BalanceConfig, argv, None, prog=COMMAND)
    if config.out:
        hold_file("out", config.out)
    rows = compare(config)
    print(text(rows))
    if config.out:
        write_json(Path(config.out), rows)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
