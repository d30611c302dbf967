"""The actor and critic that PPO trains: stable-baselines3's, or one that treats sides alike.

Where left and right can be exchanged, ``Mirrored`` networks answer ``(f(x) + M f(M x)) / 2``: what
is learned of a push from the left holds for one from the right (Abdolhosseini et al. 2019, "On
learning symmetric locomotion", network method).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import CombinedExtractor, FlattenExtractor
from torch import Tensor, nn

Permutation = tuple[Sequence[int], Sequence[float]]
_ALIASES = ("pi_features_extractor.", "vf_features_extractor.")  # SB3's names for one module


class Actor(ActorCriticPolicy):
    """Gaussian actor and critic, two networks of the same widths.

    Args:
        observation_space: a box, or a dict of boxes (images first through SB3's small CNN).
        action_space: a box. lr_schedule: SB3's. use_sde: must be false.
        hidden: widths. log_std: of the first actions.
        mirror: ``observation`` and ``action``, each (places, signs), or None.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Box,
        lr_schedule: Callable[[float], float],
        use_sde: bool = False,
        *,
        hidden: Sequence[int] = (64, 64),
        log_std: float = 0.0,
        mirror: dict[str, Permutation] | None = None,
    ) -> None:
        self.hidden, self.mirror = tuple(hidden), mirror
        pictures = isinstance(observation_space, spaces.Dict)
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            net_arch={"pi": list(hidden), "vf": list(hidden)},
            use_sde=use_sde,
            log_std_init=log_std,
            features_extractor_class=CombinedExtractor if pictures else FlattenExtractor,
        )

    def _build(self, lr_schedule: Callable[[float], float]) -> None:
        super()._build(lr_schedule)
        if self.mirror is None:
            return
        assert isinstance(self.action_space, spaces.Box)
        width, dim = self.hidden[-1] + self.features_dim, self.action_space.shape[0]
        self.add_module("action_net", MirroredHead(width, dim, self.mirror["action"]))
        self.add_module("value_net", MirroredHead(width, 1, ([0], [1.0])))
        settings: dict[str, Any] = {"lr": lr_schedule(1), **self.optimizer_kwargs}
        self.optimizer = self.optimizer_class(self.parameters(), **settings)

    def _build_mlp_extractor(self) -> None:
        if self.mirror is None:
            super()._build_mlp_extractor()
            return
        body = MirroredBody(self.features_dim, self.hidden, self.mirror["observation"])
        self.add_module("mlp_extractor", body)

    def tensors(self) -> dict[str, Tensor]:
        """Every weight once, by name."""
        return {k: v for k, v in self.state_dict().items() if not k.startswith(_ALIASES)}

    def means(self, observation: dict[str, Tensor] | Tensor) -> Tensor:
        """(B, A) actions without noise, unclipped."""
        with torch.no_grad():
            out: Tensor = self._predict(observation, deterministic=True)
            return out


class MirroredBody(nn.Module):
    """Hidden layers of actor and critic, of an observation and of its mirror image.

    The observation itself goes along, so that the heads hold a linear feedback as well.
    """

    places: Tensor
    signs: Tensor

    def __init__(self, width: int, hidden: Sequence[int], mirror: Permutation) -> None:
        super().__init__()
        self.policy_net, self.value_net = _layers(width, hidden), _layers(width, hidden)
        self.latent_dim_pi = self.latent_dim_vf = 2 * (hidden[-1] + width)
        self.register_buffer("places", torch.as_tensor(np.asarray(mirror[0])))
        self.register_buffer("signs", torch.as_tensor(np.asarray(mirror[1], dtype=np.float32)))

    def forward(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """(B, D) -> (B, 2 (H + D)) for the actor and for the critic."""
        return self.forward_actor(seen), self.forward_critic(seen)

    def forward_actor(self, seen: Tensor) -> Tensor:
        """(B, D) -> (B, 2 (H + D))."""
        return self._both(self.policy_net, seen)

    def forward_critic(self, seen: Tensor) -> Tensor:
        """(B, D) -> (B, 2 (H + D))."""
        return self._both(self.value_net, seen)

    def _both(self, network: nn.Module, seen: Tensor) -> Tensor:
        other = seen[:, self.places] * self.signs
        return torch.cat([network(seen), seen, network(other), other], dim=1)


class MirroredHead(nn.Module):
    """One linear layer on both halves; the second answer is mirrored back."""

    places: Tensor
    signs: Tensor

    def __init__(self, width: int, out: int, mirror: Permutation) -> None:
        super().__init__()
        self.linear = nn.Linear(width, out)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.register_buffer("places", torch.as_tensor(np.asarray(mirror[0])))
        self.register_buffer("signs", torch.as_tensor(np.asarray(mirror[1], dtype=np.float32)))

    def forward(self, latent: Tensor) -> Tensor:
        """(B, 2 W) -> (B, out)."""
        one, other = self.linear(latent.unflatten(1, (2, -1))).unbind(1)
        out: Tensor = (one + other[:, self.places] * self.signs) / 2
        return out


def _layers(width: int, hidden: Sequence[int]) -> nn.Sequential:
    sizes = [width, *hidden]
    parts: list[nn.Module] = []
    for low, high in pairwise(sizes):
        parts += [nn.Linear(low, high), nn.Tanh()]
    return nn.Sequential(*parts)
