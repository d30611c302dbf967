"""LoRA on the attention of the language model, and how to save the merged model.

A model is tuned first and benched frozen afterwards::

    import torch

    from neon_sim.policies import BackboneConfig, VideoBackbone
    from neon_sim.policies.backbones.foundation.lora import accumulated_step, trained_parameters

    backbone = VideoBackbone(BackboneConfig(model_id, freeze_backbone=False))
    backbone.load()
    parameters = trained_parameters(backbone.family.network)
    optimiser = torch.optim.AdamW(parameters, lr=1e-4)
    for small_batches in data:  # lists of rows; the loss calls backbone.encode_batch(rows)
        accumulated_step(loss, small_batches, optimiser, parameters)
    backbone.save("tuned")  # then: backbone.model_id=tuned
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor, nn

from neon_sim.errors import ConfigError, require_package

from ..weights.find import INSTALL_HUB
from ..weights.libraries import mend_torchvision

if TYPE_CHECKING:
    from bitsandbytes.nn.modules import Params4bit
    from transformers import PreTrainedModel

Batch = TypeVar("Batch")


def require_lora() -> ModuleType:
    """Import ``peft``; torchvision, which it imports, is made importable first.

    Raises:
        MissingPackageError: it is not installed.
    """
    mend_torchvision()
    return require_package("peft", why="freeze_backbone=false (LoRA)", install=INSTALL_HUB)


def attach_lora(network: nn.Module, targets: str, rank: int, alpha: int) -> nn.Module:
    """Add trainable low-rank adapters; everything else stays frozen.

    Args:
        network: a frozen model. targets: regular expression of the linear layers' names.
        rank / alpha: of the adapters, which are scaled by ``alpha / rank``.

    Raises:
        MissingPackageError: peft is not installed. ConfigError: no layer has such a name.
    """
    peft = require_lora()
    settings = peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets, lora_dropout=0.0)
    try:
        adapted: nn.Module = peft.get_peft_model(network, settings)
    except ValueError as error:
        raise ConfigError(f"LoRA finds no layer named {targets!r} in this model") from error
    return adapted


def merged_state(network: nn.Module) -> dict[str, Tensor]:
    """The tensors of a model with its adapters merged; the model itself is not changed.

    Args:
        network: with adapters of ``attach_lora`` or without, in NF4 or not.

    Returns:
        By the names of the model without adapters, on the CPU, NF4 unpacked: what reads it
        needs neither peft nor bitsandbytes.
    """
    core = unwrapped(network)
    own = {name for name, _ in (*core.named_parameters(), *core.named_buffers())}
    state = {
        _plain(name): value.detach().cpu()
        for name, value in core.state_dict().items()
        if name in own and "lora_" not in name
    }
    for name, value in core.named_parameters():
        if type(value).__name__ == "Params4bit":  # in its plain layout only after state_dict()
            state[_plain(name)] = _unpacked(value)
    adapted = [item for item in core.named_modules() if hasattr(item[1], "get_delta_weight")]
    for name, layer in adapted:
        key = f"{name}.weight"
        for adapter in layer.active_adapters:
            added = layer.get_delta_weight(adapter).detach().float().cpu()
            state[key] = (state[key].float() + added).to(state[key].dtype)
    return state


def unwrapped(network: nn.Module) -> PreTrainedModel:
    """The model that adapters were attached to, or itself."""
    base: Callable[[], PreTrainedModel] | None = getattr(network, "get_base_model", None)
    return network if base is None else base()


def _plain(name: str) -> str:
    return name.replace(".base_layer.", ".")


def _unpacked(weight: Params4bit) -> Tensor:
    from bitsandbytes import functional

    unpacked: Tensor = functional.dequantize_4bit(weight.data, weight.quant_state)
    return unpacked.cpu()


def trained_parameters(network: nn.Module) -> list[nn.Parameter]:
    """The parameters that require gradients."""
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def accumulated_step(
    loss: Callable[[Batch], Tensor],
    small_batches: Sequence[Batch],
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
