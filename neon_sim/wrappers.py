"""Gymnasium wrappers: the clip that a video policy sees, as part of the observation."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs

from neon_sim.clips import FLOW_SIDE, clip_span_s
from neon_sim.clock import CAMERA_HZ
from neon_sim.config import ClipConfig
from neon_sim.errors import ConfigError

CAMERA_FRAME_S = 1.0 / CAMERA_HZ


class TemporalClip(gymnasium.ObservationWrapper, RecordConstructorArgs):
    """Adds the clip to a dict observation of an environment that has ``clip(config)``.

    New keys: ``video`` (T, H, W, 3) uint8, oldest first; ``video_mask`` (T,) bool, False where a
    place is padding before the episode's start; ``video_time_s`` (T,) float32, ages in
    seconds, <= 0, last 0. Frames that no clip asks for are never drawn.

    Args:
        env: an environment of this project, with a ``Dict`` observation space.
        config: how the past is sampled.
        flow: add ``video_flow`` (T, 36, 2) float32 too, the simulator's exact flow of each frame
            since the one before in cells (``neon_sim.flow``): privileged, no robot has it.

    Raises:
        ConfigError: a rule of ``config`` is broken, or ``env`` has no clips.
        UnknownNameError: no such clip sampler.
    """

    def __init__(self, env: gymnasium.Env, config: ClipConfig, flow: bool = False) -> None:
        RecordConstructorArgs.__init__(self, config=config, flow=flow)
        gymnasium.ObservationWrapper.__init__(self, env)
        config.validate()
        if not hasattr(env.unwrapped, "clip") or not isinstance(env.observation_space, spaces.Dict):
            raise ConfigError(
                f"TemporalClip needs a dict observation and a clip() method "
                f"(got {type(env.unwrapped).__name__}); use an environment of neon_sim."
            )
        self.config, self.flow = config, flow
        frames, size = config.num_frames, config.image_size
        task: Any = env.unwrapped
        span_s = clip_span_s(task.sampling(config))
        oldest = -span_s - CAMERA_FRAME_S  # a box needs some width
        self.observation_space = spaces.Dict(
            {
                **env.observation_space.spaces,
                "video": spaces.Box(0, 255, (frames, size, size, 3), np.uint8),
                "video_mask": spaces.Box(0, 1, (frames,), np.bool_),
                "video_time_s": spaces.Box(oldest, 0.0, (frames,), np.float32),
                **({"video_flow": _flow_space(frames)} if flow else {}),
            }
        )

    def observation(self, observation: dict[str, Any]) -> dict[str, Any]:
        """Add the clip that ends now."""
        task: Any = self.env.unwrapped
        video, plan = task.clip(self.config)
        more = {"video_flow": task.flow_history(self.config)} if self.flow else {}
        return {
            **observation,
            "video": video,
            "video_mask": plan.mask,
            "video_time_s": plan.time_s,
            **more,
        }


def _flow_space(frames: int) -> spaces.Box:
    return spaces.Box(-FLOW_SIDE, FLOW_SIDE, (frames, FLOW_SIDE**2, 2), np.float32)
