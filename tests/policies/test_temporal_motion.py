"""Which way does it go? Mechanisms that see order learn it; the controls cannot.

A blob wanders over a 3 x 3 grid without edges, one cell a frame, to one of four sides. Where
it is says nothing about where it goes, so that one frame allows 1 in 4; every way is as
likely as its reverse and both have the same mean, so that the mean over frames allows 1 in
2 (the axis, not the sign). ``none`` and ``static_drop`` leave time to the fusion and are not
asked here.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from neon_sim.registry import TEMPORAL

SIDE, FRAMES, DIM, ROWS = 3, 3, 12, 64
STEPS, RATE = 150, 5e-3
FAST = (
    "late_concat",
    "early",
    "conv3d",
    "inflated",
    "two_stream",
    "temporal_shift",
    "conv_gru",
    "cnn_gru",
    "non_local",
    "divided_attention",
)
SLOWER = {"memory_tokens": 200, "q_former": 300}  # everything has to pass through few tokens
CEILING = {"single_frame": 0.25, "late_mean": 0.5}
MARGIN = 0.1  # on 512 clips: five standard errors of a coin at 0.5


def wanderers(rows: int, seed: int) -> tuple[Tensor, Tensor]:
    """Tokens (B, F, S, D) of a blob on a noisy ground, and its direction 0 to 3."""
    g = torch.Generator().manual_seed(seed)
    way = torch.randint(0, 4, (rows,), generator=g)
    step = torch.tensor([[0, 1], [0, -1], [1, 0], [-1, 0]])[way]
    start = torch.randint(0, SIDE, (rows, 2), generator=g)
    cells = (start[:, None] + torch.arange(FRAMES)[:, None] * step[:, None]) % SIDE
    there = functional.one_hot(cells[..., 0] * SIDE + cells[..., 1], SIDE * SIDE).float()
    look = torch.randn(DIM, generator=torch.Generator().manual_seed(7))
    tokens = there.unsqueeze(3) * (3 * look)
    return tokens + 0.1 * torch.randn(tokens.shape, generator=g), way


class Reader(nn.Module):
    """A mechanism, one look at each token it hands on, and the sum of what was seen."""

    def __init__(self, name: str) -> None:
        super().__init__()
        arguments = {"budget": 12_000.0}
        arguments |= {"queries": 8.0} if name == "q_former" else {}
        self.mechanism = TEMPORAL.resolve(name)(DIM, FRAMES, SIDE * SIDE, **arguments)
        self.look = nn.Sequential(nn.Linear(DIM, 64), nn.GELU())
        self.answer = nn.Linear(64, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, F, S, D) -> logits (B, 4)."""
        mask = torch.ones(tokens.shape[:3], dtype=torch.bool)
        hidden, _, _ = self.mechanism(tokens, mask, torch.zeros(tokens.shape[:2]))
        return self.answer(self.look(hidden).sum(dim=(1, 2)))


def learn(name: str, steps: int) -> float:
    """Accuracy on clips that were not trained on."""
    torch.manual_seed(0)
    reader = Reader(name)
    optimiser = torch.optim.AdamW(reader.parameters(), RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, steps)
    for step in range(steps):
        tokens, way = wanderers(ROWS, step)
        optimiser.zero_grad()
        functional.cross_entropy(reader(tokens), way).backward()
        nn.utils.clip_grad_norm_(reader.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    tokens, way = wanderers(512, 10_000)
    with torch.no_grad():
        return float((reader.eval()(tokens).argmax(1) == way).float().mean())


@pytest.mark.parametrize("name", [*FAST, *SLOWER])
def test_what_sees_order_learns_the_direction(name: str) -> None:
    assert learn(name, SLOWER.get(name, STEPS)) > 0.9


@pytest.mark.parametrize("name", list(CEILING))
def test_the_controls_cannot(name: str) -> None:
    assert learn(name, STEPS) < CEILING[name] + MARGIN
