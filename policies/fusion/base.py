"""What every fusion is given and what it returns."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from neon_sim.errors import ConfigError
from neon_sim.vocabulary import MAX_WORDS

FLAT_LIMIT = 1024  # numbers; few enough tokens are also read directly, in order
PROPRIO_TOKENS = 1  # places that proprioception takes in a sequence
AGE_SCALE_S = 0.5
AGE_WAVES = 3
SOUND_WIDTH = 128  # inside the adapter of sound
LANES = 64  # a multiple of what any processor computes side by side


@dataclass(frozen=True)
class FusionLayout:
    """Widths that a fusion is built for.

    Attributes:
        token_dim: D. num_frames: F. tokens_per_frame: S. text_dim: of word embeddings.
        proprio_dim: of proprioception. text_tokens: L, words of the longest instruction.
        audio_tokens: S', moments of the sound; 0 for a policy that does not listen.
        audio_dim: D'.
    """

    token_dim: int
    num_frames: int
    tokens_per_frame: int
    text_dim: int
    proprio_dim: int
    text_tokens: int = MAX_WORDS
    audio_tokens: int = 0
    audio_dim: int = 0

    @property
    def flat_dim(self) -> int:
        """Numbers of the whole clip and its mask when they are few (states), else 0."""
        tokens = self.num_frames * self.tokens_per_frame
        size = tokens * (self.token_dim + 1)
        return size if size <= FLAT_LIMIT else 0

    def hold(self, batch: FusionInput) -> None:
        """Hold a batch to the frames, tokens and words that a fusion is built for.

        Raises:
            ConfigError: more or fewer of them.
        """
        wanted = (self.num_frames, self.tokens_per_frame, self.text_tokens)
        got = (*batch.mask.shape[1:], batch.text_mask.shape[1])
        if got != wanted:
            raise ConfigError(
                "the fusion was built for {} frames x {} tokens and {} words".format(*wanted)
                + " (got {} x {} and {}); nothing is cut off".format(*got)
                + ": build it for this clip (clip.num_frames, connector), or show it the other"
            )


@dataclass(frozen=True)
class FusionInput:
    """One batch for a fusion, all float32.

    Attributes:
        hidden: (B, F, S, D) normalised tokens, anything finite where masked.
        mask: (B, F, S) bool.
        time_s: (B, F) ages, <= 0. proprio: (B, P) normalised.
        text_tokens: (B, L, E). text_mask: (B, L) bool. text_pooled: (B, E).
        audio: (B, S', D') normalised, the mask token where nothing is heard; None for a policy
            that does not listen.
    """

    hidden: Tensor
    mask: Tensor
    time_s: Tensor
    proprio: Tensor
    text_tokens: Tensor
    text_mask: Tensor
    text_pooled: Tensor
    audio: Tensor | None = None

    def flat(self) -> Tensor:
        """All tokens and their mask in order: (B, F * S * (D + 1))."""
        return torch.cat([self.kept().flatten(1), self.mask.flatten(1).float()], dim=1)

    def kept(self) -> Tensor:
        """Tokens with zeros where masked."""
        zero = torch.zeros((), dtype=self.hidden.dtype, device=self.hidden.device)
        return torch.where(self.mask.unsqueeze(-1), self.hidden, zero)


class Fusion(nn.Module):
    """Joins vision, proprioception and text.

    Attributes:
        context_dim: C. context_tokens: N, tokens that a context consists of, side by side; the
            last number of each is 1 where it is real, 0 elsewhere. A context of one token is one
            vector without that number.
        READS_ASIDE: whether what is seen and heard is only read, as keys and values or as a mean,
            and takes no place in the sequence: then ``max_tokens`` holds the words alone.
    """

    READS_ASIDE: ClassVar[bool] = False
    context_dim: int
    context_tokens: int = 1

    def forward(self, batch: FusionInput) -> Tensor:
        """Return the context (B, C).

        Raises:
            ConfigError: more or fewer frames, tokens or words than it was built for.
        """
        raise NotImplementedError

    def recording(self) -> AbstractContextManager[dict[str, float]]:
        """What the next forwards tell about themselves (loads of experts); here nothing."""
        return nullcontext({})


class SoundTokens(nn.Module):
    """The sound of a ring as tokens that know their moment: (B, S', D') -> (B, S', W).

    Args:
        layout: widths; of a policy that listens. width: W.
    """

    def __init__(self, layout: FusionLayout, width: int) -> None:
        super().__init__()
        self.layout = layout
        self.adapt = nn.Sequential(
            nn.Linear(layout.audio_dim, SOUND_WIDTH), nn.GELU(), nn.Linear(SOUND_WIDTH, width)
        )
        self.moment = nn.Parameter(torch.randn(layout.audio_tokens, width) * 0.5)

    def forward(self, audio: Tensor | None) -> Tensor:
        """Embed.

        Raises:
            ConfigError: no sound, or of another shape than the fusion was built for.
        """
        wanted = (self.layout.audio_tokens, self.layout.audio_dim)
        if audio is None or audio.shape[1:] != wanted:
            got = "none" if audio is None else tuple(audio.shape[1:])
            raise ConfigError(f"the fusion was built for sound of {wanted} (got {got})")
        out: Tensor = self.adapt(audio) + self.moment
        return out


def age_waves(time_s: Tensor) -> Tensor:
    """Ages (B, F) in seconds -> (B, F, 3): in half seconds, and a sine and a cosine of that.

    Sines are taken of whole vectors of numbers: some builds of torch round the rest of a row of
    numbers in another way, and a row would depend on its place in the batch.
    """
    age = time_s / AGE_SCALE_S
    phase = functional.pad(4 * age.flatten(), (0, -age.numel() % LANES))
    waves = [wave[: age.numel()].view_as(age) for wave in (phase.sin(), phase.cos())]
    return torch.stack([age, *waves], dim=2)


def token_coordinates(tokens: int) -> Tensor:
    """Places of a frame's tokens: (S, 2) of x, y in [-1, 1]; zeros if they form no grid."""
    side = round(tokens**0.5)
    if side * side != tokens:
        return torch.zeros(tokens, 2)
    centres = (torch.arange(side) + 0.5) / side * 2 - 1
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], dim=1)
