"""Recurrence over frames: one vector a frame through a GRU, or a GRU at every place.

``cnn_gru``: a frozen network's features into a recurrent one (Donahue et al. 2015, LRCN).
``conv_gru``: the same equations with convolutions for products (Ballas et al. 2016,
"Delving deeper into convolutional networks for learning video representations"). A frame
of padding leaves the state as it was, so that an episode starts from an empty one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .base import (
    BudgetedMechanism,
    Clip,
    conv,
    to_maps,
    to_tokens,
    with_mask,
)

SQUEEZE = 8  # numbers that ``cnn_gru`` keeps of a token


class CnnGru(BudgetedMechanism):
    """A frame's tokens, narrowed and laid in a row, drive a GRU; every token hears its state."""

    GRID = False

    def build(self, width: int) -> nn.ModuleDict:
        """Narrow, describe the frame, remember, tell."""
        return nn.ModuleDict(
            {
                "narrow": nn.Linear(self.feature_dim + 1, SQUEEZE),
                "describe": nn.Linear(self.tokens_per_frame * SQUEEZE, width),
                "remember": nn.GRUCell(width, width),
                "tell": nn.Linear(width, self.feature_dim),
            }
        )

    def forward(self, hidden: Tensor, mask: Tensor, time_s: Tensor) -> Clip:
        """One step of the GRU a real frame."""
        frames = self.parts["narrow"](with_mask(hidden, mask)).flatten(2)
        frames = functional.gelu(self.parts["describe"](frames))
        state = frames.new_zeros(len(frames), self.width)
        for frame, real in zip(frames.unbind(1), mask.any(dim=2).unbind(1), strict=True):
            state = torch.where(real.unsqueeze(1), self.parts["remember"](frame, state), state)
        told = self.parts["tell"](state).unsqueeze(1).expand(-1, self.tokens_per_frame, -1)
        return self.onto_now(told, hidden, mask, time_s)


class ConvGru(BudgetedMechanism):
    """A GRU whose state is a map: each place remembers, and hears its neighbours."""

    def build(self, width: int) -> nn.ModuleDict:
        """Gates and candidate, each a 3 x 3 convolution of input and of state."""
        return nn.ModuleDict(
            {
                "enter": conv(self.feature_dim + 1, width, 1),
                "input": conv(width, 3 * width),
                "gates": conv(width, 2 * width),
                "candidate": conv(width, width),
                "leave": conv(width, self.feature_dim, 1),
            }
        )

    def forward(self, hidden: Tensor, mask: Tensor, time_s: Tensor) -> Clip:
        """One step of the GRU a real frame."""
        maps = to_maps(with_mask(hidden, mask))
        x = functional.gelu(self.parts["enter"](maps.flatten(0, 1)))
        inputs = self.parts["input"](x).unflatten(0, maps.shape[:2])
        state = torch.zeros_like(inputs[:, 0, : self.width])
        for step, real in zip(inputs.unbind(1), mask.any(dim=2).unbind(1), strict=True):
            state = torch.where(real[:, None, None, None], self._step(step, state), state)
        return self.onto_now(to_tokens(self.parts["leave"](state)), hidden, mask, time_s)

    def _step(self, inputs: Tensor, state: Tensor) -> Tensor:
        """``h + z (h~ - h)`` with ``h~ = tanh(W x + U (r h))``."""
        open_, reset, candidate = inputs.chunk(3, dim=1)
        open_state, reset_state = self.parts["gates"](state).chunk(2, dim=1)
        opened = torch.sigmoid(open_ + open_state)
        recalled = torch.sigmoid(reset + reset_state) * state
        return state + opened * (torch.tanh(candidate + self.parts["candidate"](recalled)) - state)
