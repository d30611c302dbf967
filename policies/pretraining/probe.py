"""``python -m neon_sim.policies.pretraining.probe backbone=neon_tiny task=arm_block``: what do
frozen tokens hold?

A small attention pool is trained on the frozen tokens of a task's scene, its arm wandering
aimlessly, to say where things are and how fast they move. The simulator's state is read
for this judgement only. A backbone that sees no time has to fail at the velocities.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Annotated, Any

import gymnasium
import numpy as np
import torch
from annotated_types import Interval
from torch import Tensor, nn

from neon_sim.command import entry_point
from neon_sim.config.loading import main_config
from neon_sim.errors import unknown_name
from neon_sim.observation.batch import ClipBatch, observe_row, stack_observations
from neon_sim.observation.clips import ClipConfig
from neon_sim.observation.conditions import condition
from neon_sim.observation.ladder import apply_condition
from neon_sim.registry import BACKBONES, task_entry
from neon_sim.rules import Steps, hold_rules
from neon_sim.seeding import keyed_rng

from .clips import PRETRAIN_SEED, aimless_actions

FRAME_S = 0.08
VARIES_M, MOVES_M_S = 0.005, 0.05  # a number that spreads less than this is not asked for
FASTEST_M_S = 5.0


@dataclass
class ProbeConfig:
    """One probe.

    Attributes:
        backbone: registry name.
        weights: of that backbone; the shipped ones when empty.
        task: whose scene.
        clips: to train on; a sixth as many are read in the test.
        steps: of training.
        seed: of scenes and training, >= 0.
    """

    backbone: str = "neon_tiny"
    weights: str = ""
    task: str = "arm_block"
    clips: Annotated[int, Interval(ge=60, le=10**6)] = 2400
    steps: Steps = 1200
    seed: Annotated[int, Interval(ge=0, le=2**30 - 1)] = 0

    def validate(self) -> None:
        """Hold the rules of the docstring.

        Raises:
            ConfigError: a value outside its rule. UnknownNameError: no such backbone or task.
        """
        hold_rules(self)
        if self.backbone not in BACKBONES:
            raise unknown_name(BACKBONES.kind, self.backbone, BACKBONES)
        self.task = task_entry(self.task).name


@dataclass(frozen=True)
class ProbeSet:
    """Clips, ``environment_state`` (N, 16) in m, and its change (N, 16) in m/s."""

    batch: ClipBatch
    position: np.ndarray
    velocity: np.ndarray


def draw_probe_set(task: str, count: int, seed: int) -> ProbeSet:
    """Draw ``count`` clips, two an episode, from episodes that no training uses."""
    env: Any = gymnasium.make(task_entry(task).env_id, cameras=())
    clip, rows, states = ClipConfig(), [], []
    for episode in range((count + 1) // 2):
        rng = keyed_rng("probe", task, seed, episode)
        env.reset(seed=PRETRAIN_SEED + 1 + seed, options={"episode": episode})
        moments = rng.integers(8, int(env.unwrapped.EPISODE_STEPS * 0.7), size=2)
        for action in aimless_actions(rng, env.unwrapped.agent_pos(), int(moments.max())):
            _, terminated, truncated, _ = env.unwrapped.advance(action)
            if env.unwrapped.control_step in moments or terminated or truncated:
                rows.append(observe_row(env, clip, {"video"}))
                states.append(env.unwrapped.state_history(clip)[-2:])
            if terminated or truncated:
                break
    before, now = np.stack(states).astype(np.float64).transpose(1, 0, 2)
    velocity = np.clip((now - before) / FRAME_S, -FASTEST_M_S, FASTEST_M_S)
    return ProbeSet(stack_observations(rows), now, velocity)


def spread(values: np.ndarray) -> np.ndarray:
    """(N, K) -> (K,): distance between the 10th and the 90th percentile."""
    low, high = np.percentile(values, (10, 90), axis=0)
    found: np.ndarray = high - low
    return found


class AttentionProbe(nn.Module):
    """Eight queries over tokens and their places, then one hidden layer."""

    def __init__(self, tokens: int, dim: int, outputs: int, queries: int = 8) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.randn(tokens, dim) * 0.5)
        self.score = nn.Linear(dim, queries)
        self.value = nn.Linear(dim, dim)
        self.read = nn.Sequential(nn.Linear(queries * dim, 128), nn.GELU(), nn.Linear(128, outputs))

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, S, D) -> (B, outputs)."""
        x = tokens + self.place
        weights = torch.softmax(self.score(x), dim=1)
        out: Tensor = self.read(torch.einsum("bsq,bsd->bqd", weights, self.value(x)).flatten(1))
        return out


def fit(tokens: Tensor, wanted: Tensor, steps: int, seed: int) -> nn.Module:
    """Train a probe on (N, S, D) tokens and (N, O) standardised targets."""
    torch.manual_seed(seed)
    probe = AttentionProbe(tokens.shape[1], tokens.shape[2], wanted.shape[1])
    optimiser = torch.optim.AdamW(probe.parameters(), lr=3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        rows = torch.randint(len(tokens), (64,))
        loss = nn.functional.smooth_l1_loss(probe(tokens[rows]), wanted[rows], beta=0.1)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return probe


def encode(backbone: Any, batch: ClipBatch, rows: int = 64) -> Tensor:
    """Frozen tokens (N, S, D); an image backbone is shown the newest frame only."""
    joins_time = backbone.num_tokens(2) == backbone.num_tokens(1)
    seen = apply_condition(condition("video" if joins_time else "frame"), batch)
    parts = [seen.rows(start, start + rows) for start in range(0, len(seen), rows)]
    return torch.cat([backbone.encode(part).hidden for part in parts]).float()


def probe(backbone: Any, train: ProbeSet, test: ProbeSet, steps: int, seed: int) -> dict[str, Any]:
    """Train on one set, read the other.

    Returns:
        For ``position`` and ``velocity``: ``error``, the median absolute error of a number
        (cm, cm/s), and ``r2``, the mean share of variance that is explained (1 is all of it,
        0 is what a constant answer explains).
    """
    names = np.isin(train.position, (0.0, 1.0)).all(0)  # flags and one-hot words
    varies = (spread(train.position) > VARIES_M) & ~names
    moves = varies & (spread(train.velocity) > MOVES_M_S)
    columns = [np.hstack([s.position[:, varies], s.velocity[:, moves]]) for s in (train, test)]
    wanted = [torch.from_numpy(values).float() for values in columns]
    mean, scale = wanted[0].mean(0), wanted[0].std(0)
    reader = fit(encode(backbone, train.batch), (wanted[0] - mean) / scale, steps, seed)
    with torch.no_grad():
        read = reader(encode(backbone, test.batch)) * scale + mean
    off = (read - wanted[1]).numpy()
    result: dict[str, Any] = {}
    split = int(varies.sum())
    for name, part in (("position", slice(0, split)), ("velocity", slice(split, None))):
        if off[:, part].size:
            variance = wanted[1][:, part].numpy().var(0)
            result[f"{name}_error"] = float(np.median(np.abs(off[:, part])) * 100)
            result[f"{name}_r2"] = float(1 - ((off[:, part] ** 2).mean(0) / variance).mean())
    return result


def run(config: ProbeConfig) -> dict[str, Any]:
    """Draw both sets, probe, return the figures of ``probe``."""
    config.validate()
    backbone = BACKBONES.resolve(config.backbone)
    frozen = backbone(weights=config.weights) if config.weights else backbone()
    train = draw_probe_set(config.task, config.clips, 2 * config.seed)
    test = draw_probe_set(config.task, config.clips // 6, 2 * config.seed + 1)
    return probe(frozen, train, test, config.steps, config.seed)


@entry_point("probe", "nothing was written")
def main(argv: list[str]) -> int:
    """Command line."""
    config = main_config(ProbeConfig, argv)
    values = "  ".join(f"{name} {value:.3f}" for name, value in run(config).items())
    print(f"{config.backbone} on {config.task}: {values}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
