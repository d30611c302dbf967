"""An image encoder plus the exact optical flow at each place: an upper bound, not a policy.

The motion stream of two-stream networks (Simonyan & Zisserman 2014) reads an optical flow that is
estimated. Here it reads the one that the simulator renders (``neon_sim.simulation.flow``), with
camera motion and occlusion. The difference shows how much success the estimate costs.
"""

from __future__ import annotations

import math

import torch

from neon_sim.errors import ConfigError
from neon_sim.observation.batch import ClipBatch
from neon_sim.observation.clips import FLOW_SIDE

from .exact_motion import ExactMotion

PARTS = 16  # parts of a cell; one part is the unit of a token's flow


class ExactFlow(ExactMotion):
    """Tokens of an encoder of single frames; the last two numbers of each are its place's flow.

    The flow is that of the cell of a 6 x 6 grid, to the right and downwards, since the frame
    before in the clip. Its unit is a sixteenth of a cell, so that the numbers are about as large
    as the others of a token: in the arm tasks the standard deviation is 0.006 to 0.07 cells. It
    is zero where either frame is padding or absent. Tokens of a finer grid share the flow of
    their cell, so that pooling to 6 x 6 does not change it.

    Args:
        image: registry name of the encoder, of 6 x 6, 12 x 12, ... tokens a frame.
        arguments: of it.

    Raises:
        ConfigError: another grid.
    """

    needs = frozenset({"flow"})
    extra_dim = 2

    def __init__(self, image: str = "neon_tiny_image", **arguments: str) -> None:
        super().__init__(image, **arguments)
        side = math.isqrt(self.tokens_per_frame)
        self.finer = side // FLOW_SIDE
        if side**2 != self.tokens_per_frame or side != self.finer * FLOW_SIDE or not side:
            raise ConfigError(
                f"exact_flow needs an encoder whose grid divides into {FLOW_SIDE} x {FLOW_SIDE} "
                f"cells, on which flow is measured ({image} has {self.tokens_per_frame} tokens a "
                "frame); take backbone.image=neon_tiny_image"
            )

    def extra(self, clip: ClipBatch) -> torch.Tensor:
        """The flow: (B, T * S, 2) float32, sixteenths of a cell.

        Raises:
            ConfigError: the clip holds no flow.
        """
        if clip.flow is None:
            raise ConfigError("exact_flow needs exact optical flow, the clip holds none")
        flow = PARTS * torch.from_numpy(clip.flow.astype("float32"))
        maps = torch.unflatten(flow, 2, (FLOW_SIDE, FLOW_SIDE))
        fine = maps.repeat_interleave(self.finer, 2).repeat_interleave(self.finer, 3)
        return fine.flatten(1, 3)
