"""Typed configurations: the dataclasses are the truth, YAML and the command line fill them.

``load_config`` (``neon_sim.config.loading``) composes ``configs/<group>/<name>.yaml`` with
overrides through Hydra into one of these, or into a command's own dataclass. The rules of
a config stand in its ``validate()``.
"""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, ClassVar

from annotated_types import Interval

from neon_sim.clock import CHUNK_STEPS
from neon_sim.config.loading import (
    config_names,
    load_config,
    read_yaml,
)
from neon_sim.errors import ConfigError, unknown_name
from neon_sim.observation.clips import ClipConfig
from neon_sim.observation.conditions import condition
from neon_sim.registry import (
    AUDIO_ENCODERS,
    BACKBONES,
    CONNECTORS,
    FUSIONS,
    HEADS,
    POLICY_PARTS,
    TEMPORAL,
    image_twin,
)
from neon_sim.rules import Dropout, hold_rules

EXCHANGED = "+"  # in a policy's name, before a backbone that is not its YAML's
# parts whose arguments stand beside them in ``<part>_args``, ``backbone`` apart
ARGUED_PARTS = ("connector", "stack_connector", "temporal", "audio", "fusion", "head")
NO_AUDIO, OWN_EARS = "none", "backbone"  # words of ``PolicyConfig.audio`` beside the encoders


@dataclass
class PolicyConfig:
    """A policy: a frozen backbone (and its image twin), connector, fusion and head.

    Attributes:
        name: what tables and file names call it.
        backbone: registry name of the video backbone.
        image_backbone: registry name of its image twin, used by ``frame`` and ``stack``.
        connector / fusion / head: registry names.
        connector_args / fusion_args / head_args: keyword arguments of those.
        stack_connector / stack_connector_args: the connector under ``stack``, where every
            frame brings its own tokens; also under ``video`` where the backbone is an encoder of
            single frames, its own twin.
        temporal / temporal_args: the mechanism that joins the tokens of several frames
            before the fusion, and its keyword arguments.
        max_tokens: longest sequence of the fusion under any condition: frames x tokens a frame,
            those of the sound, 16 words and 1 of proprioception. A fusion that only reads what is
            seen and heard (cross_attention, pooled) has the words alone in it.
        audio / audio_args: the frozen encoder of the sound and its keyword arguments; ``none``
            does not listen, ``backbone`` hands the sound to a backbone that hears
            (``neon-bench list policies`` names them).
        audio_dropout: share of training windows whose sound is taken away, so that the policy
            knows what to do without; of an encoder, not of ``backbone``.
        backbone_args: keyword arguments of both backbones (weights path and so on).
        condition: the condition it runs under unless the command line names others.
        clip: what it sees.
        replan_steps: control steps of a chunk that are executed before the next call.

    ``backbone.model_id=/path`` on a command line means ``backbone_args.model_id=/path``. Naming
    ``backbone`` without ``image_backbone`` exchanges both, and naming another part drops the
    arguments of the one before (``implied``).
    """

    KEY_ALIASES: ClassVar[dict[str, str]] = {"backbone.": "backbone_args."}

    name: str = "neon_tiny"
    backbone: str = "neon_tiny"
    image_backbone: str = "neon_tiny_image"
    backbone_args: dict[str, str] = field(default_factory=dict)
    connector: str = "identity"
    connector_args: dict[str, float] = field(default_factory=dict)
    stack_connector: str = "avgpool"
    stack_connector_args: dict[str, float] = field(default_factory=dict)
    temporal: str = "none"
    temporal_args: dict[str, float] = field(default_factory=dict)
    audio: str = NO_AUDIO
    audio_args: dict[str, float] = field(default_factory=dict)
    audio_dropout: Dropout = 0.2
    max_tokens: Annotated[int, Interval(ge=1, le=10**6)] = 320
    fusion: str = "cross_attention"
    fusion_args: dict[str, float] = field(default_factory=dict)
    head: str = "chunk_mlp"
    head_args: dict[str, float] = field(default_factory=dict)
    condition: str = "video"
    clip: ClipConfig = field(default_factory=ClipConfig)
    replan_steps: Annotated[int, Interval(ge=1, le=CHUNK_STEPS)] = 4

    @staticmethod
    def implied(named: dict[str, Any], before: Any) -> dict[str, Any]:
        """What a YAML or a command line means besides what it says.

        Where it names ``backbone`` alone: its image twin; a name that tells it apart,
        ``neon_tiny+transnetv2``, to which no shipped head belongs; no argument of the backbone
        before; and where a shipped policy is called like the backbone, the arguments, connectors
        and the room for tokens that stand there. Where it names another connector, mechanism,
        fusion or head: none of the arguments that were for the one before.

        Args:
            named: the values given, by key. before: the settings they change.

        Raises:
            ConfigError: the backbone has no twin, or the policy looked at single frames through
                something that is no twin, so that nobody can tell which is meant.
        """
        meant = PolicyConfig._exchanged(named, before)
        for part in ARGUED_PARTS:
            standing = meant.get(part, getattr(before, part))
            if named.get(part, standing) != standing:
                meant[f"{part}_args"] = {}
        return meant

    @staticmethod
    def _exchanged(named: dict[str, Any], before: Any) -> dict[str, Any]:
        """What naming ``backbone`` alone means besides; nothing where it does not."""
        name = named.get("backbone")
        if name in (None, before.backbone) or "image_backbone" in named:
            return {}
        twin, usual = image_twin(str(name)), (before.backbone, image_twin(before.backbone))
        if twin is None or before.image_backbone not in usual:
            raise ConfigError(
                f"backbone={name} alone does not say what frame and stack look through (policy "
                f"{before.name!r}: {before.image_backbone}); give image_backbone= too, "
                f"{twin or f'{name} itself where it looks at single frames'}"
            )
        called = f"{base_name(before.name)}{EXCHANGED}{name}"
        return {"name": called, "image_backbone": twin, **_token_settings(str(name), before)}

    def validate(self) -> None:
        """Hold the rules of the docstring, ``max_tokens`` for the policy's own condition.

        Raises:
            ConfigError: a value outside its rule.
            UnknownNameError: a name that no registry knows.
        """
        hold_rules(self)
        for name in (self.backbone, self.image_backbone):
            if name not in BACKBONES:
                raise unknown_name(BACKBONES.kind, name, BACKBONES)
        for part, registry in (
            ("connector", CONNECTORS),
            ("stack_connector", CONNECTORS),
            ("temporal", TEMPORAL),
            ("fusion", FUSIONS),
            ("head", HEADS),
        ):
            registry.held(getattr(self, part), getattr(self, f"{part}_args"), f"{part}_args")
        self._hold_ears()
        self.check_budget(self.condition)

    def _hold_ears(self) -> None:
        if self.audio in AUDIO_ENCODERS:
            AUDIO_ENCODERS.held(self.audio, self.audio_args, "audio_args")
        elif self.audio not in (NO_AUDIO, OWN_EARS):
            known = (NO_AUDIO, OWN_EARS, *AUDIO_ENCODERS)
            raise unknown_name(AUDIO_ENCODERS.kind, self.audio, known)
        elif self.audio_args:
            raise ConfigError(f"audio_args are for an encoder (got audio={self.audio})")

    def check_budget(self, name: str) -> None:
        """Hold ``max_tokens`` under a condition, before any weight is read.

        Raises:
            ConfigError: more tokens than that; names the sum and the mend.
            UnknownNameError: no such condition.
        """
        POLICY_PARTS.resolve("check_token_budget")(self, condition(name))


def base_name(policy: str) -> str:
    """The name of a policy without the backbone that was exchanged by one word."""
    return policy.partition(EXCHANGED)[0]


def _token_settings(backbone: str, before: Any) -> dict[str, Any]:
    """What the shipped policy called like a backbone says of its tokens, if there is one."""
    values = read_yaml("policy", backbone)[0] if backbone in config_names("policy") else {}
    if values.get("backbone") != backbone:
        return {"backbone_args": {}}
    plain = asdict(PolicyConfig())
    keys = (
        "connector",
        "connector_args",
        "stack_connector",
        "stack_connector_args",
        "backbone_args",
    )
    room = max(before.max_tokens, values.get("max_tokens", plain["max_tokens"]))
    return {**{key: values.get(key, plain[key]) for key in keys}, "max_tokens": room}


def settings_beside(config: PolicyConfig) -> list[str]:
    """``key=value`` of what a policy has otherwise than the shipped YAML of its name.

    Those that fix a trained head; empty for a policy whose name is of no shipped YAML.
    """
    name = base_name(config.name)
    if name not in config_names("policy"):
        return []
    plain = load_config(PolicyConfig, "policy", name, [])
    exchanged = [] if plain.backbone == config.backbone else [f"backbone={config.backbone}"]
    if exchanged and config.image_backbone == image_twin(config.backbone):
        with contextlib.suppress(ConfigError):
            plain = load_config(PolicyConfig, "policy", name, exchanged)
    had, has = flat(asdict(plain)), flat(asdict(config))
    loose = ("condition", "replan_steps", "backbone", "name")
    return exchanged + [
        f"{key}={value}" for key, value in has.items() if had.get(key) != value and key not in loose
    ]


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one, keys joined by dots."""
    items: dict[str, Any] = {}
    for key, value in tree.items():
        items |= (
            flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        )
    return items
