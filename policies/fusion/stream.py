"""One residual stream for all modalities: what ``joint_decoder``, ``mot`` and ``moma`` share.

Visual tokens, sound (of a policy that listens), words, proprioception and action queries
stand in one sequence, in that order, and read each other; the context is read out of the
action queries. Nothing is ever cut off: a batch of another length than the fusion was built
for is an error. In the last block only the queries are updated, since nothing else is read
after it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from neon_sim.errors import ConfigError

from .base import (
    AGE_WAVES,
    PROPRIO_TOKENS,
    Fusion,
    FusionInput,
    FusionLayout,
    SoundTokens,
    age_waves,
    token_coordinates,
)

MODALITIES = ("vision", "audio", "text", "proprio", "action")  # their order in the sequence
MLP_RATIO = 2
LOWEST_RAD = torch.pi / 2  # phase of an embedding at the border of [-1, 1]
OCTAVES = 4  # from the lowest to the highest frequency: finer than a grid of 12


@dataclass(frozen=True)
class Sizes:
    """Sizes of a residual stream.

    Attributes:
        width: W. heads: of attention. layers: blocks. queries: action queries.
        lengths: tokens of each modality there is, in the order of the sequence.
    """

    width: int
    heads: int
    layers: int
    queries: int
    lengths: dict[str, int]

    @classmethod
    def checked(
        cls, layout: FusionLayout, width: int, heads: int, layers: int, queries: int
    ) -> Sizes:
        """Sizes that fit each other.

        Raises:
            ConfigError: heads that do not divide width.
        """
        if width % heads:
            raise ConfigError(f"fusion_args.heads must divide width {width} (got {heads})")
        vision = layout.num_frames * layout.tokens_per_frame
        counts = (vision, layout.audio_tokens, layout.text_tokens, PROPRIO_TOKENS, queries)
        lengths = dict(zip(MODALITIES, counts, strict=True))
        if not layout.audio_tokens:
            del lengths["audio"]
        return cls(width, heads, layers, queries, lengths)


def sinusoids(places: Tensor, width: int) -> Tensor:
    """Sines and cosines of places, in a geometric progression of frequencies.

    As in "Attention is all you need" (Vaswani et al. 2017, section 3.5), for places (N, d) in
    [-1, 1] instead of indices; where d = 2, half of the numbers tell x and half y.

    Returns:
        (N, ``width``) float32.
    """
    count = -(-width // (2 * places.shape[1]))
    frequencies = LOWEST_RAD * 2.0 ** torch.linspace(0.0, OCTAVES, count)
    phase = (places.unsqueeze(2) * frequencies).flatten(1)
    return torch.cat([torch.sin(phase), torch.cos(phase)], dim=1)[:, :width]


def line(count: int) -> Tensor:
    """Places (N, 1) on a line from -1 to 1."""
    return torch.linspace(-1.0, 1.0, count).unsqueeze(1)


class StreamEmbedding(nn.Module):
    """Puts everything that is known into one sequence of width W.

    Args:
        layout: widths. sizes: of the stream.
    """

    def __init__(self, layout: FusionLayout, sizes: Sizes) -> None:
        super().__init__()
        self.layout, w = layout, sizes.width
        grid = token_coordinates(layout.tokens_per_frame)
        grid = grid if grid.any() else line(layout.tokens_per_frame)
        self.vision = nn.Linear(layout.token_dim, w)
        self.place = nn.Parameter(sinusoids(grid, w))
        self.age = nn.Sequential(nn.Linear(AGE_WAVES, w), nn.GELU(), nn.Linear(w, w))
        self.text = nn.Linear(layout.text_dim, w)
        self.word = nn.Parameter(sinusoids(line(layout.text_tokens), w))
        self.proprio = nn.Linear(layout.proprio_dim, w)
        self.query = nn.Parameter(torch.randn(sizes.queries, w) * 0.5)
        self.sound = SoundTokens(layout, w) if layout.audio_tokens else None

    def forward(self, batch: FusionInput) -> tuple[Tensor, Tensor]:
        """Return the sequence (B, N, W), zeros where masked, and what is real (B, N) bool.

        Raises:
            ConfigError: more or fewer tokens than the fusion was built for.
        """
        self.layout.hold(batch)
        rows = len(batch.proprio)
        vision = self.vision(batch.kept()) + self.place
        vision = vision + self.age(age_waves(batch.time_s)).unsqueeze(2)
        heard = [] if self.sound is None else [self.sound(batch.audio)]
        parts = [
            _zeroed(vision, batch.mask).flatten(1, 2),
            *heard,
            _zeroed(self.text(batch.text_tokens) + self.word, batch.text_mask),
            self.proprio(batch.proprio).unsqueeze(1),
            self.query.expand(rows, -1, -1),
        ]
        always = batch.mask.new_ones(rows, PROPRIO_TOKENS + len(self.query))
        sounding = batch.mask.new_ones(rows, self.layout.audio_tokens)
        real = [batch.mask.flatten(1), sounding, batch.text_mask, always]
        return torch.cat(parts, 1), torch.cat(real, 1)


def _zeroed(tokens: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask.unsqueeze(-1), tokens, tokens.new_zeros(()))


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int, mask: Tensor) -> Tensor:
    """Multi-head attention.

    Args:
        query: (B, Q, W). key, value: (B, N, W). heads: that share W.
        mask: (B, 1, Q or 1, N) bool, True where a query may look; somewhere for each.

    Returns:
        (B, Q, W).
    """
    q, k, v = (t.unflatten(2, (heads, -1)).transpose(1, 2) for t in (query, key, value))
    seen = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return seen.transpose(1, 2).flatten(2)


Make = Callable[[], nn.Module]
Share = Callable[[Make, Sequence[str]], nn.Module]


def shared(make: Make, modalities: Sequence[str]) -> nn.Module:
    """One set of weights for all modalities."""
    del modalities
    return make()


def updated(sizes: Sizes, last: bool) -> tuple[str, ...]:
    """Modalities that a block updates."""
    return MODALITIES[-1:] if last else tuple(sizes.lengths)


class Block(nn.Module):
    """Pre-norm attention and MLP: (B, N, W) -> (B, N, W), or (B, Q, W) in the last block.

    Args:
        sizes: of the stream. last: update the action queries alone.
        share: makes a layer for some modalities; ``shared`` gives all the same weights.
        mlp: of the tokens that are updated; by default a plain one.
    """

    def __init__(
        self, sizes: Sizes, last: bool, share: Share = shared, mlp: nn.Module | None = None
    ) -> None:
        super().__init__()
        w, self.heads = sizes.width, sizes.heads
        self.updated = sizes.queries if last else sum(sizes.lengths.values())
        readers, writers = tuple(sizes.lengths), updated(sizes, last)
        self.norm = share(lambda: nn.LayerNorm(w), readers)
        self.query = share(lambda: nn.Linear(w, w), writers)
        self.key_value = share(lambda: nn.Linear(w, 2 * w), readers)
        self.out = share(lambda: nn.Linear(w, w), writers)
        self.mlp_norm = share(lambda: nn.LayerNorm(w), writers)
        self.mlp = mlp or share(lambda: new_mlp(w), writers)

    def forward(self, x: Tensor, real: Tensor, mask: Tensor) -> Tensor:
        """Update the stream; ``real`` (B, N) and ``mask`` as in ``attend``."""
        known, n = self.norm(x), self.updated
        key, value = self.key_value(known).chunk(2, dim=2)
        query = self.query(known[:, -n:])
        x = x[:, -n:] + self.out(attend(query, key, value, self.heads, mask[:, :, -n:]))
        return x + self.feed(self.mlp_norm(x), real[:, -n:])

    def feed(self, x: Tensor, real: Tensor) -> Tensor:
        """What the MLP adds."""
        del real
        out: Tensor = self.mlp(x)
        return out


def new_mlp(width: int) -> nn.Sequential:
    """Two layers with GELU, twice as wide inside."""
    inner = MLP_RATIO * width
    return nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width))


class StreamFusion(Fusion):
    """Embedding, blocks, and a read-out of the action queries.

    Args:
        layout: widths. sizes: of the stream. blocks: ``layers`` of them, the last one last.
        context: C. dropout: on the context.
    """

    def __init__(
        self,
        layout: FusionLayout,
        sizes: Sizes,
        blocks: Sequence[Block],
        context: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.context_dim = context
        self.flat_dim = layout.flat_dim
        self.embed = StreamEmbedding(layout, sizes)
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(sizes.width)
        self.join = nn.Linear(sizes.queries * sizes.width + self.flat_dim, self.context_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, batch: FusionInput) -> Tensor:
        """Return the context (B, C)."""
        x, real = self.embed(batch)
        mask = self.visible(real)
        for block in self.blocks:
            x = block(x, real, mask)
        parts = [self.norm(x).flatten(1), *([batch.flat()] if self.flat_dim else [])]
        out: Tensor = self.dropout(functional.gelu(self.join(torch.cat(parts, dim=1))))
        return out

    def visible(self, real: Tensor) -> Tensor:
        """Who may look at whom, (B, 1, N or 1, N) bool: here all at everything that is real."""
        return real[:, None, None]
