"""Names and where they live: the only way one room reaches another.

Each entry is a string ``"module:attribute"`` that is imported when somebody resolves it,
so listing names costs no import, and the ground needs to know no room.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from neon_sim.errors import ConfigError, unknown_name
from neon_sim.rules import hold_arguments, settings_of


class Registry:
    """A table of lazily imported objects of one kind.

    Args:
        kind: what it holds, singular, for error messages (``"backbone"``).
        entries: name -> ``"module:attribute"``.
    """

    def __init__(self, kind: str, entries: dict[str, str] | None = None) -> None:
        self.kind = kind
        self._entries = dict(entries or {})

    def register(self, name: str, target: str) -> None:
        """Add ``name`` -> ``"module:attribute"``; a name that is taken is an error."""
        if self._entries.get(name, target) != target:
            raise ValueError(f"{self.kind} {name!r} is already {self._entries[name]!r}")
        self._entries[name] = target

    def names(self) -> list[str]:
        """All registered names, sorted."""
        return sorted(self._entries)

    def resolve(self, name: str) -> Any:
        """Import and return what ``name`` stands for.

        Raises:
            UnknownNameError: nothing of that name is registered.
        """
        if name not in self._entries:
            raise unknown_name(self.kind, name, self._entries)
        return _import(self._entries[name])

    def make(self, name: str, arguments: dict[str, Any], *sizes: Any, **more: Any) -> Any:
        """Make what ``name`` stands for, with the arguments of a config.

        Args:
            name: registered. arguments: from ``head_args`` and its like.
            sizes, more: what the caller gives, which no config can.

        Raises:
            UnknownNameError: nothing of that name is registered.
            ConfigError: an argument it does not take, or one outside its rule.
        """
        return self.resolve(name)(*sizes, **self.held(name, arguments), **more)

    def held(self, name: str, arguments: dict[str, Any], key: str = "") -> dict[str, Any]:
        """The arguments of a config, held to what a part says of them; nothing is made.

        Args:
            name: registered. arguments: from ``head_args`` and its like. key: what errors call
                them.

        Returns:
            The same, whole numbers as ``int`` where the part takes one.

        Raises:
            UnknownNameError: nothing of that name is registered.
            ConfigError: an argument it does not take, or one outside its rule.
        """
        target = self.resolve(name)
        known = settings_of(target)
        for word, value in arguments.items():
            if word not in known:
                raise ConfigError(
                    f"{self.kind} {name!r} does not take {word!r} (got {word}={value}). Known: "
                    f"{', '.join(known) or 'none'}."
                )
        return hold_arguments(key or f"{self.kind.split()[0]}_args", target, arguments)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())


def _import(target: str) -> Any:
    """What ``"module:attribute"`` stands for."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


@dataclass(frozen=True)
class TaskEntry:
    """One task: its registry name, its Gymnasium id and what kind of question it asks.

    Attributes:
        name: registry name, ``"arm_catch"``.
        env_id: Gymnasium id, ``"neon_sim/ArmCatch-v0"``.
        entry_point: ``"module:Class"``.
        kind: ``"static"`` (no gain from history is expected), ``"temporal"``, ``"state"``
            (cameras tell nothing of it: no ladder, no certificate), or ``"sound"``.
        episode_steps: control steps after which an episode is truncated, the class's
            ``EPISODE_STEPS``: Gymnasium's ``max_episode_steps``, known before the class is.
        version: the number after ``-v``.
        robot: whose task it is, a name of ``EMBODIMENTS``.
        clip_span_s: seconds that every clip of this task reaches back, at least; 0 leaves clips
            as the policy asks for them (``neon_sim.observation.clips.stretched``).
    """

    name: str
    env_id: str
    entry_point: str
    kind: str
    episode_steps: int
    version: int = 0
    robot: str = "arm"
    clip_span_s: float = 0.0

    def resolve(self) -> Any:
        """Import and return the task's class."""
        return _import(self.entry_point)


def _arm(name: str, camel: str, kind: str, steps: int, clip_span_s: float = 0.0) -> TaskEntry:
    path = f"neon_sim.envs.arm.{name.removeprefix('arm_')}:{camel}"
    return TaskEntry(name, f"neon_sim/{camel}-v0", path, kind, steps, clip_span_s=clip_span_s)


def _humanoid(name: str, camel: str, kind: str, steps: int) -> TaskEntry:
    path = f"neon_sim.envs.humanoid.{name.removeprefix('humanoid_')}:{camel}"
    return TaskEntry(name, f"neon_sim/{camel}-v0", path, kind, steps, robot="humanoid")


TASKS: dict[str, TaskEntry] = {
    entry.name: entry
    for entry in (
        _arm("arm_reach", "ArmReach", "static", 125),
        _arm("arm_pick_place", "ArmPickPlace", "static", 225),
        _arm("arm_block", "ArmBlock", "temporal", 60),
        _arm("arm_catch", "ArmCatch", "temporal", 68),
        _arm("arm_conveyor_pick", "ArmConveyorPick", "temporal", 125),
        _arm("arm_occluded", "ArmOccluded", "temporal", 70),
        _arm("arm_shell_game", "ArmShellGame", "temporal", 120, clip_span_s=2.24),
        _arm("arm_rebound", "ArmRebound", "temporal", 76),
        _arm("arm_parallax", "ArmParallax", "temporal", 95),
        _arm("arm_swing", "ArmSwing", "temporal", 85),
        _arm("arm_rattle", "ArmRattle", "sound", 300),
        _arm("arm_ringing", "ArmRinging", "sound", 125),
        _arm("arm_material", "ArmMaterial", "sound", 200),
        _arm("arm_tone_order", "ArmToneOrder", "sound", 150),
        _arm("arm_latch", "ArmLatch", "sound", 215),
        _arm("arm_spoken", "ArmSpoken", "sound", 150),
        _arm("arm_audio_visual", "ArmAudioVisual", "sound", 175),
        _humanoid("humanoid_reach", "HumanoidReach", "static", 125),
        _humanoid("humanoid_goalkeeper", "HumanoidGoalkeeper", "temporal", 65),
        _humanoid("humanoid_handover", "HumanoidHandover", "temporal", 75),
        _humanoid("humanoid_follow", "HumanoidFollow", "temporal", 125),
        _humanoid("humanoid_alarm", "HumanoidAlarm", "sound", 200),
        _humanoid("humanoid_balance", "HumanoidBalance", "state", 250),
    )
}


@dataclass(frozen=True)
class FamilyEntry:
    """One family of foundation models.

    Attributes:
        name: of its file in ``policies/backbones/foundation``.
        entry_point: ``"module:Class"``.
        models: names of its models, those of the class's ``PUBLISHED``. Each is a backbone, and
            ``NAME_image`` is its twin that looks at single frames.
    """

    name: str
    entry_point: str
    models: tuple[str, ...]

    @property
    def backbones(self) -> dict[str, str]:
        """Entries of ``BACKBONES``: every model and its image twin."""
        names = (f"{model}{twin}" for model in self.models for twin in ("", "_image"))
        bench = "neon_sim.policies.backbones.foundation.on_the_bench"
        return {name: f"{bench}:{name}" for name in names}

    def resolve(self) -> Any:
        """Import and return the family's class."""
        return _import(self.entry_point)


def _family(name: str, camel: str, *models: str) -> FamilyEntry:
    return FamilyEntry(name, f"neon_sim.policies.backbones.foundation.{name}:{camel}", models)


FAMILIES: dict[str, FamilyEntry] = {
    entry.name: entry
    for entry in (
        _family("qwen_vl", "QwenVL", "qwen_vl_3b", "qwen_vl_7b"),
        _family("qwen_omni", "QwenOmni", "qwen_omni_3b", "qwen_omni_7b"),
        _family("qwen3_vl", "Qwen3VL", "cosmos_reason2_2b", "cosmos_reason2_8b"),
        _family("vjepa2", "VJEPA2", "vjepa2"),
        _family("videomae", "VideoMAE", "videomae"),
        _family("tribev2", "TribeV2", "tribev2"),
        _family("fvlm", "FVLM", "fvlm_135m"),
    )
}

_ENCODERS = "neon_sim.policies.backbones.encoders"

BACKBONES = Registry(
    "backbone",
    {
        "random": "neon_sim.policies.backbones.own.random:RandomBackbone",
        "random_image": "neon_sim.policies.backbones.own.random:RandomImageBackbone",
        "neon_tiny": "neon_sim.policies.backbones.own.neon_tiny:NeonTinyVideo",
        "neon_tiny_image": "neon_sim.policies.backbones.own.neon_tiny:NeonTinyImage",
        "exact_motion": "neon_sim.policies.backbones.own.exact_motion:ExactMotion",
        "exact_flow": "neon_sim.policies.backbones.own.exact_flow:ExactFlow",
        "efficientnet_lite0": f"{_ENCODERS}.efficientnet_lite0:EfficientNetImage",
        "transnetv2": f"{_ENCODERS}.transnetv2:TransNetV2Backbone",
        "transnetv2_image": f"{_ENCODERS}.transnetv2:transnetv2_image",
        "siglip": f"{_ENCODERS}.hf_image:siglip",
        "siglip2": f"{_ENCODERS}.hf_image:siglip2",
        "clip": f"{_ENCODERS}.hf_image:clip",
        "dinov2": f"{_ENCODERS}.hf_image:dinov2",
        "dinov3": f"{_ENCODERS}.hf_image:dinov3",
        "siglip_dinov2": f"{_ENCODERS}.fused_image:SiglipDinov2",
        "r3d_18": f"{_ENCODERS}.torchvision_video:r3d_18",
        "r3d_18_image": f"{_ENCODERS}.torchvision_video:r3d_18_image",
        "mc3_18": f"{_ENCODERS}.torchvision_video:mc3_18",
        "mc3_18_image": f"{_ENCODERS}.torchvision_video:mc3_18_image",
        "r2plus1d_18": f"{_ENCODERS}.torchvision_video:r2plus1d_18",
        "r2plus1d_18_image": f"{_ENCODERS}.torchvision_video:r2plus1d_18_image",
        "s3d": f"{_ENCODERS}.torchvision_video:s3d",
        "s3d_image": f"{_ENCODERS}.torchvision_video:s3d_image",
        "mvit_v2_s": f"{_ENCODERS}.torchvision_video:mvit_v2_s",
        "mvit_v2_s_image": f"{_ENCODERS}.torchvision_video:mvit_v2_s_image",
        "timesformer": f"{_ENCODERS}.hf_video:timesformer",
        "timesformer_image": f"{_ENCODERS}.hf_video:timesformer_image",
        "vivit": f"{_ENCODERS}.hf_video:vivit",
        "vivit_image": f"{_ENCODERS}.hf_video:vivit_image",
        "state": "neon_sim.policies.backbones.own.state:StateBackbone",
        "none": "neon_sim.policies.backbones.own.state:NoBackbone",
        **{name: path for family in FAMILIES.values() for name, path in family.backbones.items()},
    },
)


def add_family(family: FamilyEntry) -> None:
    """Make a family of another package known, and its models backbones.

    Raises:
        ValueError: a name that is taken.
    """
    for name, path in family.backbones.items():
        BACKBONES.register(name, path)
    FAMILIES[family.name] = family


CONNECTORS = Registry(
    "connector",
    {
        "identity": "neon_sim.policies.connectors.identity:Identity",
        "avgpool": "neon_sim.policies.connectors.avgpool:AvgPool",
        "attentional_pool": "neon_sim.policies.connectors.attentional_pool:AttentionalPool",
    },
)
TEMPORAL = Registry(
    "temporal mechanism",
    {
        "none": "neon_sim.policies.temporal.controls:NoMechanism",
        "single_frame": "neon_sim.policies.temporal.controls:SingleFrame",
        "late_mean": "neon_sim.policies.temporal.controls:LateMean",
        "static_drop": "neon_sim.policies.temporal.static_drop:StaticDrop",
        "late_concat": "neon_sim.policies.temporal.stacking:LateConcat",
        "early": "neon_sim.policies.temporal.stacking:Early",
        "conv3d": "neon_sim.policies.temporal.conv3d:Conv3d",
        "inflated": "neon_sim.policies.temporal.conv3d:Inflated",
        "two_stream": "neon_sim.policies.temporal.two_stream:TwoStream",
        "cnn_gru": "neon_sim.policies.temporal.recurrent:CnnGru",
        "conv_gru": "neon_sim.policies.temporal.recurrent:ConvGru",
        "temporal_shift": "neon_sim.policies.temporal.temporal_shift:TemporalShift",
        "non_local": "neon_sim.policies.temporal.non_local:NonLocal",
        "divided_attention": "neon_sim.policies.temporal.divided_attention:DividedAttention",
        "q_former": "neon_sim.policies.temporal.q_former:QFormer",
        "memory_tokens": "neon_sim.policies.temporal.memory_tokens:MemoryTokens",
    },
)
AUDIO_ENCODERS = Registry(
    "audio encoder",
    {
        "log_mel": "neon_sim.policies.audio.log_mel:LogMel",
        "speech_embedding": "neon_sim.policies.audio.speech_embedding:SpeechEmbedding",
    },
)
FUSIONS = Registry(
    "fusion",
    {
        "pooled": "neon_sim.policies.fusion.pooled:PooledFusion",
        "cross_attention": "neon_sim.policies.fusion.cross_attention:CrossAttentionFusion",
        "joint_decoder": "neon_sim.policies.fusion.joint_decoder:JointDecoderFusion",
        "mot": "neon_sim.policies.fusion.mot:MixtureOfTransformersFusion",
        "moma": "neon_sim.policies.fusion.moma:MixtureOfExpertsFusion",
        "sequence": "neon_sim.policies.fusion.sequence:SequenceFusion",
    },
)
HEADS = Registry(
    "head",
    {
        "chunk_mlp": "neon_sim.policies.heads.chunk_mlp:ChunkMLP",
        "flow": "neon_sim.policies.heads.flow:FlowHead",
        "dit_flow": "neon_sim.policies.heads.dit_flow:DiTFlow",
        "dit_cross_flow": "neon_sim.policies.heads.dit_cross_flow:DiTCrossFlow",
        "diffusion": "neon_sim.policies.heads.diffusion:DiffusionHead",
        "action_tokens": "neon_sim.policies.heads.action_tokens:ActionTokens",
    },
)
# From an action in [-1, 1] to joint angles in rad and what else it sets: finger travel in m,
# base velocity in m/s and rad/s.
EMBODIMENTS = Registry(
    "embodiment",
    {
        "arm": "neon_sim.envs.arm.robot:from_action",
        "humanoid": "neon_sim.envs.humanoid.robot:from_action",
    },
)
# What keeps the humanoid up.
LOWER_BODIES = Registry(
    "lower body",
    {
        "standing": "neon_sim.envs.humanoid.lower_body:Standing",
        "reflex": "neon_sim.envs.humanoid.learned_balance:ReflexOnly",
        "learned": "neon_sim.envs.humanoid.learned_balance:Learned",
        "harness": "neon_sim.envs.humanoid.lower_body:Harness",
        "base": "neon_sim.envs.humanoid.lower_body:Base",
    },
)
# What ``python -m neon_sim.rl`` trains on besides the tasks: made of a seed and an index.
RL_ENVIRONMENTS = Registry(
    "training environment", {"balance": "neon_sim.envs.humanoid.push_training:PushTraining"}
)
# ``python -m neon_sim.<name>`` for what lives with the networks.
COMMANDS = Registry(
    "command",
    {
        "train": "neon_sim.policies.training.command:main",
        "pretrain": "neon_sim.policies.pretraining.trainer:main",
        "rl": "neon_sim.policies.ppo.command:main",
    },
)
POLICY_PARTS = Registry(
    "policy part",
    {
        "build_cache": "neon_sim.policies.training.feature_cache:build_cache",
        "head_trainer": "neon_sim.policies.training.trainer:Trainer",
        "train_settings": "neon_sim.policies.training.settings:TrainConfig",
        "load_policy": "neon_sim.policies.policy:load_policy",
        "shipped_heads": "neon_sim.policies.policy:shipped_heads",
        "make_tower": "neon_sim.policies.tower:make_tower",
        "check_token_budget": "neon_sim.policies.tower:check_token_budget",
        "new_network": "neon_sim.policies.network:new_network",
        "network_input": "neon_sim.policies.network:network_input",
        "backbone_rows": "neon_sim.policies.backbones.listing:backbone_rows",
        "drawn_weights": "neon_sim.policies.backbones.weights.sources:drawn_weights",
        "hearing_models": "neon_sim.policies.backbones.weights.catalogue:hearing_models",
        "backbone_notes": "neon_sim.policies.backbones.listing:NOTES",
        "encode_texts": "neon_sim.policies.instruction:encode_texts",
        "save_checkpoint": "neon_sim.policies.checkpoint:save_checkpoint",
        "load_network": "neon_sim.policies.checkpoint:load_network",
        "load_ppo": "neon_sim.policies.ppo.policy:load_ppo",
        "foundation_gb": "neon_sim.policies.backbones.random_weights:foundation_gb",
        "random_foundation": "neon_sim.policies.backbones.random_weights:RandomModel",
    },
)


def clip_span_s(name: str) -> float:
    """``TaskEntry.clip_span_s`` of a task by registry name; 0 for one that is not registered."""
    return TASKS[name].clip_span_s if name in TASKS else 0.0


def image_twin(name: str) -> str | None:
    """The backbone of single frames that belongs to a backbone; None where nobody said which.

    A video network's is ``<name>_image``; an encoder of single frames (``single_frames``) is its
    own.
    """
    twin = f"{name}_image"
    if twin in BACKBONES:
        return twin
    if name not in BACKBONES or name.endswith("_image"):
        return name
    made = BACKBONES.resolve(name)
    return name if getattr(getattr(made, "func", made), "single_frames", False) else None


def task_entry(name: str) -> TaskEntry:
    """Look a task up by registry name (``arm_catch``), class (``ArmCatch``) or Gymnasium id.

    Raises:
        UnknownNameError: no such task.
    """
    for entry in TASKS.values():
        camel = entry.entry_point.partition(":")[2]
        if name in (entry.name, entry.env_id, camel, f"{camel}-v{entry.version}"):
            return entry
    raise unknown_name("task", name, TASKS)
