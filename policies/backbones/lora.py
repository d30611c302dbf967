"""LoRA on the language model's attention, and one optimiser step over several small batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from neon_sim.errors import ConfigError, require_package

from .weights import INSTALL_HUB


def attach_lora(network: nn.Module, targets: str, rank: int, alpha: int) -> Any:
    """Add trainable low-rank adapters; everything else stays frozen.

    Args:
        network: a frozen model. targets: regular expression of the linear layers' names.
        rank / alpha: of the adapters, which are scaled by ``alpha / rank``.

    Raises:
        MissingPackageError: peft is not installed. ConfigError: no layer has such a name.
    """
    peft = require_package("peft", why="freeze_backbone=false (LoRA)", install=INSTALL_HUB)
    settings = peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets, lora_dropout=0.0)
    try:
        return peft.get_peft_model(network, settings)
    except ValueError as error:
        raise ConfigError(f"LoRA finds no layer named {targets!r} in this model") from error


def trained_parameters(network: nn.Module) -> list[nn.Parameter]:
    """The parameters that gradients reach."""
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def accumulated_step(
    loss: Callable[[Any], Tensor],
    small_batches: Sequence[Any],
    optimiser: torch.optim.Optimizer,
    parameters: Sequence[nn.Parameter],
    clip_norm: float = 1.0,
) -> float:
    """One optimiser step on the mean loss of several batches of equal size.

    The gradients are those of one batch as large as all of them; only one small batch is in
    memory at a time.

    Returns:
        The mean loss.

    Raises:
        ConfigError: no batch, or no gradient reached any parameter.
    """
    if not small_batches:
        raise ConfigError("an optimiser step needs at least one batch (got none)")
    optimiser.zero_grad(set_to_none=True)
    total = 0.0
    for batch in small_batches:
        part = loss(batch) / len(small_batches)
        part.backward()
        total += float(part.detach())
    if not any(p.grad is not None and bool(p.grad.any()) for p in parameters):
        raise ConfigError(
            "no gradient reached the parameters to be trained; set freeze_backbone=false"
        )
    torch.nn.utils.clip_grad_norm_(parameters, clip_norm)
    optimiser.step()
    return total
