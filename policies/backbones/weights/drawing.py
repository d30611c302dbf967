"""What checkpoints with random weights are made of: drawn weights, a tokenizer, small shapes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import torch
from torch import nn

from .catalogue import Shape
from .libraries import import_transformers

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

Network = TypeVar("Network", bound=nn.Module)

CHAT = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")  # control tokens of every tokenizer
WORDS = "catch the moving ball, touch the red post, put the green block into the bowl. 0.123456789"
NUM_WORDS = 400  # entries of the tokenizer
GAIN = 1.5  # of a drawn matrix, over that which keeps the length of a vector
MAX_STD = 0.5  # of a drawn weight

# Shapes of the parts of a tiny checkpoint: small enough for a test, nothing left out.
TINY_TEXT: Shape = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 128,
    "vocab_size": 512,
    "max_position_embeddings": 4096,
}
TINY_ENCODER: Shape = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
}


@lru_cache(maxsize=8)
def tokenizer(
    special: tuple[str, ...], names: tuple[tuple[str, str], ...] = ()
) -> PreTrainedTokenizerFast:
    """A byte-level BPE of ``NUM_WORDS`` entries.

    Args:
        special: control tokens. names: attributes of the tokenizer that name some of them.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=NUM_WORDS,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator([WORDS] * 4, trainer)
    return import_transformers().PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(special),
        extra_special_tokens=dict(names),
    )


def token_ids(words: PreTrainedTokenizerFast, names: Mapping[str, str]) -> dict[str, int]:
    """Ids of control tokens, by the key that a config has for each."""
    return {key: words.convert_tokens_to_ids(token) for key, token in names.items()}


def spread(network: Network, seed: int = 0) -> Network:
    """Draw matrices large enough that a random network reacts to all of its inputs."""
    generators: dict[torch.device, torch.Generator] = {}
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                place = parameter.device
                if place not in generators:
                    generators[place] = torch.Generator(place).manual_seed(seed)
                values = torch.empty_like(parameter).normal_(generator=generators[place])
                parameter.copy_(values.mul_(min(parameter[0].numel() ** -0.5 * GAIN, MAX_STD)))
    return network


class Savable(Protocol):
    """A network, config, processor or tokenizer of transformers."""

    def save_pretrained(self, save_directory: Path) -> None:
        """Write its files."""


def save(folder: Path, *parts: Savable) -> None:
    """Write several parts of a checkpoint into one folder."""
    for part in parts:
        part.save_pretrained(folder)
