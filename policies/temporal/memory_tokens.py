"""Memory tokens: a frame attends to itself and to a compressed memory of those before it.

MeMViT (Wu et al. 2022): every layer keeps its own memory, pooled 2 x 2 in space, of the
last few steps, so that each layer reaches further back. LongVLM (Weng et al. 2024): one
global token a step beside the local ones. The memory runs over the clip and nothing
crosses from one call to the next: it is empty where an episode starts, because frames
before its start are padding. A policy sees whole clips, so all steps are computed side by
side, and gradients pass through the memory (MeMViT stops them, for lack of memory).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from neon_sim.rules import Count, Depth

from .attention import HEADS, PLACE_STD, MaskedAttention, Mlp
from .base import BUDGET, Budget, BudgetedMechanism, Clip, kept, to_maps, to_tokens

POOL = 2


class MemoryTokens(BudgetedMechanism):
    """Layers of attention to the own frame and to the compressed last ``memory`` frames.

    Args:
        memory: frames that a layer remembers. layers: two of them reach ``2 * memory`` back.
    """

    def __init__(
        self,
        feature_dim: int,
        num_frames: int,
        tokens_per_frame: int,
        budget: Budget = BUDGET,
        memory: Count = 4,
        layers: Depth = 2,
    ) -> None:
        self.memory, self.num_layers = int(memory), int(layers)
        super().__init__(feature_dim, num_frames, tokens_per_frame, budget)

    def build(self, width: int) -> nn.ModuleDict:
        """The layers."""
        sizes = (self.feature_dim, width, self.tokens_per_frame, self.memory)
        layers = [MemoryLayer(*sizes) for _ in range(self.num_layers)]
        return nn.ModuleDict({"layers": nn.ModuleList(layers)})

    def forward(self, hidden: Tensor, mask: Tensor, time_s: Tensor) -> Clip:
        """What the layers made of the current frame, and the frame itself."""
        x = kept(hidden, mask)
        *layers, last = self.layers()
        for layer in layers:
            x = layer(x, mask)
        return self.onto_now(last(x, mask, 1)[:, 0], hidden, mask, time_s)


class MemoryLayer(nn.Module):
    """Compress, remember, attend, think."""

    def __init__(self, dim: int, width: int, tokens: int, memory: int) -> None:
        super().__init__()
        self.memory = memory
        side = -(-round(tokens**0.5) // POOL)
        self.place = nn.Parameter(torch.randn(tokens, dim) * PLACE_STD)
        self.memory_place = nn.Parameter(torch.randn(side * side + 1, dim) * PLACE_STD)
        self.age = nn.Parameter(torch.randn(memory, 1, dim) * PLACE_STD)
        self.compress = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)
        self.attend = MaskedAttention(dim, width)
        self.mlp = Mlp(dim, HEADS * width)

    def forward(self, x: Tensor, mask: Tensor, frames: int = 0) -> Tensor:
        """The last ``frames`` of a clip (0: all) after this layer: (B, F, S, D) -> (B, F', S, D).

        A frame depends on no later one.
        """
        past, past_mask = (part[:, -frames:] for part in self.remembered(x, mask))
        x, mask = x[:, -frames:], mask[:, -frames:]
        own = self.norm(x + self.place).flatten(0, 1)
        keys = torch.cat([own, past.flatten(0, 1)], dim=1)
        real = torch.cat([mask, past_mask], dim=2).flatten(0, 1)
        x = x + self.attend(own, keys, real).unflatten(0, mask.shape[:2])
        return kept(x + self.mlp(x), mask)

    def remembered(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """What each frame finds in memory: (B, F, M * K, D) and (B, F, M * K) bool."""
        local, local_mask = pooled(x, mask)
        count = mask.sum(dim=2, keepdim=True).clamp(min=1).unsqueeze(3)
        tokens = torch.cat([kept(x, mask).sum(dim=2, keepdim=True) / count, local], dim=2)
        tokens_mask = torch.cat([mask.any(dim=2, keepdim=True), local_mask], dim=2)
        tokens = self.compress(tokens) + self.memory_place
        steps = self._before(tokens).permute(0, 1, 4, 2, 3) + self.age
        real = self._before(tokens_mask).permute(0, 1, 3, 2)
        return self.norm(steps).flatten(2, 3), real.flatten(2)

    def _before(self, values: Tensor) -> Tensor:
        """The ``memory`` steps before each one, in a new last dimension; nothing before the first.

        (B, F, ...) -> (B, F, ..., M).
        """
        front = values.new_zeros(len(values), self.memory, *values.shape[2:])
        return torch.cat([front, values[:, :-1]], dim=1).unfold(1, self.memory, 1)


def pooled(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Mean of the real tokens of each 2 x 2 square: (B, F, S, D) -> (B, F, K, D), (B, F, K)."""
    weight = mask.unsqueeze(-1).to(x.dtype)
    both = to_maps(torch.cat([kept(x, mask), weight], dim=3)).flatten(0, 1)
    side = both.shape[-1]
    both = functional.pad(both, (0, side % POOL, 0, side % POOL))
    both = to_tokens(functional.avg_pool2d(both, POOL)).unflatten(0, mask.shape[:2])
    total, share = both[..., :-1], both[..., -1:]
    return total / share.clamp(min=1.0 / POOL**2), share.squeeze(-1) > 0
