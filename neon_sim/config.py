"""Typed configurations: the dataclasses are the truth, YAML and the command line fill them.

``load_config`` composes ``configs/<group>/<name>.yaml`` with overrides through Hydra and
returns a plain frozen-shape dataclass; an unknown key, a wrong type or a value outside
its rule is a ``ConfigError`` that names the key, the value and what would have worked.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class ClipConfig:
    """How a policy samples the camera's past.

    Attributes:
        num_frames: T, 1 to 64.
        fps: target frames per second, at most the camera's 25.
        sampler: a name of ``neon_sim.clips.SAMPLERS``.
        camera: observation camera.
        image_size: pixels per side of the square image.
    """

    num_frames: int = 8
    fps: float = 12.5
    sampler: str = "uniform"
    camera: str = "front"
    image_size: int = 96


@dataclass
class PolicyConfig:
    """A policy: a frozen backbone (and its image twin), connector, fusion and head.

    Attributes:
        name: what tables and file names call it.
        backbone: registry name of the video backbone.
        image_backbone: registry name of its image twin, used by ``frame`` and ``stack``.
        connector / fusion / head: registry names.
        connector_args / fusion_args / head_args: keyword arguments of those.
        backbone_args: keyword arguments of both backbones (weights path and so on).
        condition: the condition it runs under unless the command line names others.
        clip: what it sees.
        replan_steps: control steps of a chunk that are executed before the next call.
    """

    name: str = "neon_tiny"
    backbone: str = "neon_tiny"
    image_backbone: str = "neon_tiny_image"
    backbone_args: dict[str, str] = field(default_factory=dict)
    connector: str = "identity"
    connector_args: dict[str, float] = field(default_factory=dict)
    fusion: str = "cross_attention"
    fusion_args: dict[str, float] = field(default_factory=dict)
    head: str = "chunk_mlp"
    head_args: dict[str, float] = field(default_factory=dict)
    condition: str = "video"
    clip: ClipConfig = field(default_factory=ClipConfig)
    replan_steps: int = 4
