"""Gymnasium wrappers: the clip a video policy sees, and pictures where stable-baselines3 looks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs

from neon_sim.clock import CAMERA_HZ
from neon_sim.errors import ConfigError
from neon_sim.observation.clips import FLOW_SIDE, ClipConfig, clip_span_s
from neon_sim.rules import hold

CAMERA_FRAME_S = 1.0 / CAMERA_HZ


DEFAULT_CLIP = ClipConfig()


class TemporalClip(gymnasium.ObservationWrapper, RecordConstructorArgs):
    """Adds the clip to a dict observation of an environment that has ``clip(config)``.

    New keys: ``video`` (T, H, W, 3) uint8, oldest first; ``video_mask`` (T,) bool, False where a
    place is padding before the episode's start; ``video_time_s`` (T,) float32, ages in
    seconds, <= 0, last 0. Frames that no clip asks for are never drawn.

    Args:
        env: an environment of this project, with a ``Dict`` observation space.
        config: how the past is sampled; by default eight frames of 96 pixels, 0.08 s apart.
        flow: add ``video_flow`` (T, 36, 2) float32 too, the simulator's exact flow of each frame
            since the one before in cells (``neon_sim.simulation.flow``): privileged, no robot has
            it.

    Raises:
        ConfigError: a rule of ``config`` is broken, or ``env`` has no clips.
        UnknownNameError: no such clip sampler or camera.
    """

    def __init__(
        self, env: gymnasium.Env, config: ClipConfig = DEFAULT_CLIP, flow: bool = False
    ) -> None:
        _check_env("TemporalClip", env)
        if not isinstance(config, ClipConfig):
            raise ConfigError(f"TemporalClip needs a ClipConfig (got {config!r})")
        hold("flow", flow, bool)
        config.validate()
        config = replace(config)  # of its own: the default is one object
        RecordConstructorArgs.__init__(self, config=config, flow=flow)
        gymnasium.ObservationWrapper.__init__(self, env)
        if not hasattr(env.unwrapped, "clip") or not isinstance(env.observation_space, spaces.Dict):
            raise ConfigError(
                f"TemporalClip needs a dict observation and a clip() method "
                f"(got {type(env.unwrapped).__name__}); use an environment of neon_sim."
            )
        self.config, self.flow = config, flow
        frames, size = config.num_frames, config.image_size
        task: Any = env.unwrapped
        task.world.camera_id(config.camera)  # an unknown one is an error now
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


class FlattenPixels(gymnasium.ObservationWrapper, RecordConstructorArgs):
    """Moves the pictures of ``pixels`` up to where stable-baselines3, which takes no dict in a
    dict, finds them: ``pixels_<camera>`` (H, W, 3) uint8 each; everything else stays as it is.

    Args:
        env: an environment with a ``Dict`` observation space; one without ``pixels`` (made with
            ``cameras=()``) stays as it is.

    Raises:
        ConfigError: ``env`` is no environment, its observations are no dict, or they have a key
            of that name already.
    """

    def __init__(self, env: gymnasium.Env) -> None:
        _check_env("FlattenPixels", env)
        RecordConstructorArgs.__init__(self)
        gymnasium.ObservationWrapper.__init__(self, env)
        if not isinstance(env.observation_space, spaces.Dict):
            raise ConfigError(
                f"FlattenPixels needs a dict observation (got {env.observation_space}); "
                "wrap an environment of neon_sim with it before other wrappers"
            )
        parts = dict(env.observation_space.spaces)
        pixels = parts.pop("pixels", spaces.Dict())
        moved = _flat(pixels.spaces) if isinstance(pixels, spaces.Dict) else {"pixels": pixels}
        taken = sorted(set(parts) & set(moved))
        if taken:
            raise ConfigError(
                f"FlattenPixels must not replace a key (got {', '.join(taken)} twice)"
            )
        self.observation_space = spaces.Dict({**parts, **moved})

    def observation(self, observation: dict[str, Any]) -> dict[str, Any]:
        """The same arrays, one dict deep."""
        rest = {key: value for key, value in observation.items() if key != "pixels"}
        pixels = observation.get("pixels", {})
        return {**rest, **(_flat(pixels) if isinstance(pixels, dict) else {"pixels": pixels})}


def _check_env(wrapper: str, env: Any) -> None:
    if not isinstance(env, gymnasium.Env):
        raise ConfigError(f"{wrapper} goes round a gymnasium.Env (got {env!r})")


def _flat(pixels: Mapping[str, Any]) -> dict[str, Any]:
    return {f"pixels_{camera}": value for camera, value in pixels.items()}


def _flow_space(frames: int) -> spaces.Box:
    return spaces.Box(-FLOW_SIDE, FLOW_SIDE, (frames, FLOW_SIDE**2, 2), np.float32)
