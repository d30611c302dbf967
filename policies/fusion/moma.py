"""Mixture of modality-aware experts: shared attention, experts grouped by modality.

Lin et al. 2024, "MoMa: Efficient early-fusion pre-training with mixture of modality-aware
experts", section 2: a token goes to the experts of its own group only; inside a group
routing is learned, by expert choice (Zhou et al. 2022, "Mixture-of-experts with expert
choice routing"): every expert takes the tokens it scores highest, so experts are balanced
without a loss of their own. Here an expert chooses among the tokens of one clip, never of
a batch, and without noise: a row's result does not depend on its neighbours, and the same
input takes the same way every time. Tokens of padding are never taken.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import torch
from annotated_types import Interval
from torch import Tensor, nn
from torch.nn import functional

from neon_sim.rules import Count, Depth, Dropout, Width

from .base import FusionLayout
from .stream import Block, Sizes, StreamFusion, new_mlp, updated

# The two that are few share experts: proprioception is a single token.
GROUPS = {
    "vision": ("vision",),
    "audio": ("audio",),
    "text": ("text",),
    "action": ("proprio", "action"),
}


def sigmoid(logits: Tensor) -> Tensor:
    """The logistic function as a softmax over (x, 0), which works row by row.

    ``torch.sigmoid`` rounds the last numbers of a tensor otherwise than the first, so that a
    gate would depend on where in the batch it stands.
    """
    return torch.stack([logits, torch.zeros_like(logits)], dim=-1).softmax(dim=-1)[..., 0]


class ExpertChoice(nn.Module):
    """Experts of one group of modalities.

    Args:
        width: W. tokens: of the group in a clip. experts: E.
        capacity: experts that a token gets on average.
    """

    def __init__(self, width: int, tokens: int, experts: int, capacity: float) -> None:
        super().__init__()
        self.taken = min(tokens, math.ceil(tokens * capacity / experts))
        self.router = nn.Linear(width, experts)
        self.experts = nn.ModuleList(new_mlp(width) for _ in range(experts))

    def choose(self, x: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """Gates (B, E, k) in (0, 1), 0 on padding, and the tokens they belong to (B, E, k)."""
        gates = sigmoid(self.router(x)) * real.unsqueeze(2)
        chosen = gates.transpose(1, 2).topk(self.taken, dim=2)
        return chosen.values, chosen.indices

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        """(B, n, W) and (B, n) bool -> (B, n, W), zeros for a token that no expert took."""
        gates, tokens = self.choose(x, real)
        picks = functional.one_hot(tokens, x.shape[1]).to(x.dtype)
        taken = torch.einsum("bekn,bnw->ebkw", picks, x)
        made = torch.stack([expert(t) for expert, t in zip(self.experts, taken, strict=True)], 1)
        return torch.einsum("bekn,bekw->bnw", picks, made * gates.unsqueeze(3))

    def load(self, x: Tensor, real: Tensor) -> dict[str, float]:
        """Share of the real tokens that each expert took, and that none did."""
        gates, tokens = self.choose(x, real)
        taken = torch.zeros(*gates.shape[:2], x.shape[1], device=x.device)
        taken = taken.scatter_(2, tokens, 1.0) * real.unsqueeze(1)
        count = real.sum().clamp(min=1)
        shares = {f"expert{e}": float(taken[:, e].sum() / count) for e in range(gates.shape[1])}
        return shares | {"untaken": float((real & ~taken.any(dim=1)).sum() / count)}


class GroupedExperts(nn.Module):
    """The experts of every group of modalities that a block updates.

    Args:
        sizes: of the stream. last: only the action queries are updated.
        experts: of each group. capacity: as in ``ExpertChoice``.
    """

    def __init__(self, sizes: Sizes, last: bool, experts: dict[str, int], capacity: float) -> None:
        super().__init__()
        tokens = {
            group: sum(sizes.lengths[name] for name in names if name in updated(sizes, last))
            for group, names in GROUPS.items()
        }
        self.lengths = [n for n in tokens.values() if n]
        self.groups = nn.ModuleDict(
            {
                group: ExpertChoice(sizes.width, n, experts[group], capacity)
                for group, n in tokens.items()
                if n
            }
        )

    def forward(self, x: Tensor, real: Tensor) -> Tensor:
        """(B, N, W) and (B, N) bool -> (B, N, W)."""
        stretches = zip(x.split(self.lengths, 1), real.split(self.lengths, 1), strict=True)
        parts = zip(self.groups.values(), stretches, strict=True)
        return torch.cat([group(*stretch) for group, stretch in parts], dim=1)


class ExpertBlock(Block):
    """Attention with shared weights, an MLP that is chosen by group and router.

    Args:
        sizes, last, experts, capacity: as in ``GroupedExperts``.
    """

    def __init__(self, sizes: Sizes, last: bool, experts: dict[str, int], capacity: float) -> None:
        super().__init__(sizes, last, mlp=GroupedExperts(sizes, last, experts, capacity))

    def feed(self, x: Tensor, real: Tensor) -> Tensor:
        """What the experts add."""
        out: Tensor = self.mlp(x, real)
        return out


class MixtureOfExpertsFusion(StreamFusion):
    """Shared attention; MLP experts for vision, sound, text, and for the arm and its queries.

    Args:
        layout: widths. queries: action queries. width: of the stream. heads: of attention.
        layers: blocks. vision_experts, text_experts, action_experts, audio_experts: of each
            group; of sound only where there is some.
        capacity: experts that a token gets on average; below 1 some tokens get none.
        context: C. dropout: on the context.

    Raises:
        ConfigError: heads that do not divide width.
    """

    def __init__(
        self,
        layout: FusionLayout,
        queries: Count = 6,
        width: Width = 96,
        heads: Count = 4,
        layers: Depth = 2,
        vision_experts: Depth = 4,
        text_experts: Depth = 2,
        action_experts: Depth = 2,
        capacity: Annotated[float, Interval(gt=0, le=100)] = 1.0,
        context: Width = 256,
        dropout: Dropout = 0.1,
        audio_experts: Depth = 2,
    ) -> None:
        sizes = Sizes.checked(layout, width, heads, layers, queries)
        counts = (vision_experts, audio_experts, text_experts, action_experts)
        experts = dict(zip(GROUPS, counts, strict=True))
        blocks = [
            ExpertBlock(sizes, i + 1 == sizes.layers, experts, capacity)
            for i in range(sizes.layers)
        ]
        super().__init__(layout, sizes, blocks, context, dropout)

    @contextmanager
    def recording(self) -> Iterator[dict[str, float]]:
        """Loads of all experts, mean over the forwards inside the ``with``.

        Keys are ``"block0.vision.expert2"`` (share of the group's real tokens it took) and
        ``"block0.vision.untaken"``; filled in when the ``with`` ends.
        """
        seen: dict[str, list[float]] = defaultdict(list)
        means: dict[str, float] = {}
        handles = [
            module.register_forward_pre_hook(_recorder(seen, name))
            for name, module in self._groups()
        ]
        try:
            yield means
        finally:
            for handle in handles:
                handle.remove()
            means.update({name: sum(shares) / len(shares) for name, shares in seen.items()})

    def _groups(self) -> Iterator[tuple[str, ExpertChoice]]:
        for name, module in self.blocks.named_modules():
            if isinstance(module, ExpertChoice):
                number, group = name.split(".")[0], name.split(".")[-1]
                yield f"block{number}.{group}", module


def _recorder(seen: dict[str, list[float]], name: str) -> Any:
    def record(module: ExpertChoice, inputs: tuple[Tensor, Tensor]) -> None:
        with torch.no_grad():
            for key, share in module.load(*inputs).items():
                seen[f"{name}.{key}"].append(share)

    return record
