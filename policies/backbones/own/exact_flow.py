"""An image encoder that is also told the exact optical flow at each place: a ceiling, no policy.

The motion stream of two-stream networks (Simonyan & Zisserman 2014) reads an optical flow that is
estimated. Here it reads the one that the simulator renders (``neon_sim.simulation.flow``), camera
motion and occlusion included, so that what an estimate costs can be told from what two streams
cost.
"""

from __future__ import annotations

import math

import torch

from neon_sim.errors import ConfigError
from neon_sim.observation.batch import ClipBatch
from neon_sim.observation.clips import FLOW_SIDE

from .exact_motion import ExactMotion

PARTS = 16  # of a cell, the unit of a token's flow


class ExactFlow(ExactMotion):
    """Tokens of an encoder of single frames; the last two numbers of each are its place's flow.

    By how many sixteenths of a cell of 6 x 6 what is seen there moved since the clip's frame
    before, to the right and downwards (so that they are about as large as the numbers beside
    them: in the arm tasks the standard deviation is 0.006 to 0.07 cells); zero where either
    frame is padding or not there. Tokens of a finer grid share the flow of the cell they lie
    in, so that pooling to 6 x 6 hands it on as it is.

    Args:
        image: registry name of the encoder, of 6 x 6, 12 x 12, ... tokens a frame.
        arguments: of it.

    Raises:
        ConfigError: another grid.
    """

    needs = frozenset({"flow"})
    told_dim = 2

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

    def told(self, clip: ClipBatch) -> torch.Tensor:
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
