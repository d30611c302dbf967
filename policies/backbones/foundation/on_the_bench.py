"""Foundation backbones as bench backbones: clips in, visual tokens by place in time out.

A model's own name looks at the whole clip. ``NAME_image`` is the same network with the same
weights, shown one frame at a time, for the conditions ``frame`` and ``stack``.
Padded frames are left out before the model sees anything, so a clip of an episode's first
moments is simply a shorter clip; its tokens stand at the end and the places before are masked.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from functools import lru_cache, partial
from pathlib import Path
from types import UnionType
from typing import TypeAlias, get_type_hints

import numpy as np
import torch
from torch import Tensor

from neon_sim.errors import ConfigError
from neon_sim.observation.batch import ClipBatch

from ..base import Tokens, masked_mean
from ..weights.catalogue import CATALOGUE, foundation_model
from ..weights.find import content_hash
from .family import family_class
from .inputs import Sight, check_audio, check_frames
from .settings import BackboneConfig
from .video_backbone import VideoBackbone, open_family

Value: TypeAlias = str | int | float | bool | None  # of a setting
IMAGE_SUFFIX = "_image"
# settings that change no token, or only its rounding
RUNNING = ("model_id", "revision", "device_map", "max_frames", "block_rows")


class HubBackbone:
    """A foundation backbone that looks at clips.

    Args:
        name: row of the catalogue.
        settings: fields of ``BackboneConfig``, as text or typed (``model_id="/path"``).

    Attributes:
        feature_dim: D. tokens_per_frame: visual tokens of a place in time.

    Raises:
        ConfigError: an unknown setting, or one outside its rule.
        CheckpointError: the weights are not to be had (says how to get them).
    """

    OPEN = True  # the keys of ``BackboneConfig``, held by ``bench_config``

    @classmethod
    def token_shape(cls, frames: int, /, name: str, **settings: Value) -> tuple[int, int] | None:
        """The published shape, or that of a folder's ``config.json``; None for another repository.

        Raises:
            ConfigError: more frames than ``max_frames``, or settings that fit neither the model
                nor the bench. MissingPackageError: a setting needs a package.
            CheckpointError: the folder holds no checkpoint.
        """
        row, config = foundation_model(name), bench_config(name, settings)
        check_length(frames, config)
        if config.model_id == row.model_id:
            layout = family_class(row.family).LAYOUT
            return layout.token_shape(row, frames, config.image_size)
        if not Path(config.model_id).expanduser().is_dir():
            return None
        opened = open_family(config, row.family)
        return opened.places(frames), opened.tokens_per_place()

    @classmethod
    def largest_frame(cls, /, name: str, **settings: Value) -> int:
        """``image_size``: smaller frames are scaled up, larger ones are an error."""
        return bench_config(name, settings).image_size

    def __init__(self, name: str, **settings: Value) -> None:
        self.row = foundation_model(name)
        self.config = bench_config(name, settings)
        self.model = _shared_model(json.dumps(asdict(self.config)))
        self._opened = open_family(self.config, self.row.family)
        self.feature_dim = self._opened.feature_dim
        self.tokens_per_frame = self._opened.tokens_per_place()

    @property
    def hears(self) -> bool:
        """Whether sound reaches the model."""
        return self._opened.hears

    def num_tokens(self, num_frames: int) -> int:
        """Visual tokens of a clip of ``num_frames`` frames.

        Raises:
            ConfigError: more frames than ``max_frames``.
        """
        check_length(num_frames, self.config)
        return self._opened.places(num_frames) * self.tokens_per_frame

    def encode(self, clip: ClipBatch) -> Tokens:
        """Encode B clips with their instructions and, where the model hears, their sound.

        Returns:
            hidden (B, F * P, D) float32, masked where a place holds no real frame, and the mean
            over real tokens.

        Raises:
            ConfigError: no video, frames larger than ``image_size``, or sound of the wrong shape.
        """
        places = self.num_tokens(clip.mask.shape[1]) // self.tokens_per_frame
        rows = [self._sight(clip, number) for number in range(len(clip))]
        return self._tokens(rows, places)

    def fingerprint(self) -> str:
        """Hash of the files of the model and of every setting that changes a token."""
        settings = {k: v for k, v in vars(self.config).items() if k not in RUNNING}
        identity = [type(self).__name__, self.row.family, settings, self._opened.identity()]
        identity += [content_hash(folder) for folder in self._opened.folders.values()]
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()

    # ---- rows ---------------------------------------------------------------------------

    def _tokens(self, rows: list[Sight | None], places: int) -> Tokens:
        """Tokens of some rows; None stands for a row without a real frame."""
        shape = (len(rows), places, self.tokens_per_frame, self.feature_dim)
        hidden, mask = torch.zeros(shape), torch.zeros(shape[:3], dtype=torch.bool)
        real = [number for number, row in enumerate(rows) if row is not None]
        for number, found in zip(real, self._encode([r for r in rows if r]), strict=True):
            hidden[number, places - len(found) :] = found
            mask[number, places - len(found) :] = True
        hidden, mask = hidden.flatten(1, 2), mask.flatten(1, 2)
        return Tokens(hidden, mask, masked_mean(hidden, mask))

    def _encode(self, rows: list[Sight]) -> list[Tensor]:
        """(F, P, D) float32 of every row; equal rows are encoded once."""
        keys = [_row_key(row) for row in rows]
        first = dict(zip(reversed(keys), reversed(rows), strict=True))
        order = sorted(first)
        with torch.inference_mode():
            encoded = self.model.encode_sights(
                [first[key] for key in order], self.config.block_rows
            )
        found = {key: row.places.float().cpu() for key, row in zip(order, encoded, strict=True)}
        return [found[key] for key in keys]

    def _sight(self, clip: ClipBatch, number: int) -> Sight | None:
        if clip.video is None:
            raise ConfigError(f"{self.row.name} needs video, but the clip holds none")
        real = clip.mask[number]
        if not real.any():
            return None
        frames = check_frames(
            clip.video[number][real],
            max_frames=self.config.max_frames,
            image_size=self.config.image_size,
        )
        ages = clip.time_s[number][real].astype(np.float64)
        text, audio = self._said(clip, number)
        return Sight(frames, ages - ages[0], text, audio)

    def _said(self, clip: ClipBatch, number: int) -> tuple[str, np.ndarray | None]:
        """Instruction and sound of a row, as far as the model reads and hears."""
        heard = clip.audio if self._opened.hears else None
        audio = None if heard is None else check_audio(heard[number])
        reads = self._opened.reads and self._opened.reads_before_looking
        return clip.text[number] if reads else "", audio


class HubImageBackbone(HubBackbone):
    """The same network and weights, every frame on its own, as a still image."""

    @classmethod
    def token_shape(cls, frames: int, /, name: str, **settings: Value) -> tuple[int, int] | None:
        """A place a frame."""
        shape = super().token_shape(1, name, **settings)
        return shape and (frames, shape[1])

    def num_tokens(self, num_frames: int) -> int:
        """P a frame."""
        return num_frames * self.tokens_per_frame

    def encode(self, clip: ClipBatch) -> Tokens:
        """Encode B x T frames one by one: hidden (B, T * P, D) float32 and its mask.

        Raises:
            ConfigError: no video; or sound with several frames, whose share of it is unknown.
        """
        if clip.audio is not None and self._opened.hears and clip.mask.shape[1] > 1:
            raise ConfigError(
                "sound cannot be told frame by frame; leave it out under condition stack, or "
                "use frame or video"
            )
        rows, frames = clip.mask.shape
        single = [self._still(clip, row, frame) for row in range(rows) for frame in range(frames)]
        tokens = self._tokens(single, 1)
        hidden = tokens.hidden.reshape(rows, frames * self.tokens_per_frame, -1)
        mask = tokens.mask.reshape(rows, -1)
        return Tokens(hidden, mask, masked_mean(hidden, mask))

    def _still(self, clip: ClipBatch, row: int, frame: int) -> Sight | None:
        if clip.video is None:
            raise ConfigError(f"{self.row.name} needs video, but the clip holds none")
        if not clip.mask[row, frame]:
            return None
        size = self.config.image_size
        image = check_frames(clip.video[row, frame : frame + 1], max_frames=1, image_size=size)
        text, audio = self._said(clip, row)
        return Sight(image, np.zeros(1), text, audio, is_image=True)


def check_length(num_frames: int, config: BackboneConfig) -> None:
    """Check that a clip has at most ``max_frames`` frames.

    Raises:
        ConfigError: more frames than that.
    """
    if num_frames > config.max_frames:
        raise ConfigError(
            f"clip.num_frames must be at most backbone.max_frames={config.max_frames} "
            f"(got {num_frames}); show fewer frames, or raise backbone.max_frames"
        )


@lru_cache(maxsize=2)
def _shared_model(settings: str) -> VideoBackbone:
    """One copy of the weights per process, shared by a backbone and its image twin.

    Args:
        settings: fields of ``BackboneConfig`` as JSON.
    """
    return VideoBackbone(BackboneConfig(**json.loads(settings)))


def backbone_config(name: str, settings: Mapping[str, Value]) -> BackboneConfig:
    """Settings of a published model, with texts converted to the types of their fields.

    Raises:
        ConfigError: an unknown key or a value of the wrong type.
    """
    row = foundation_model(name)
    hints = get_type_hints(BackboneConfig)
    known = [item.name for item in fields(BackboneConfig)]
    config = BackboneConfig(row.model_id, image_size=row.image_size)
    for key, value in settings.items():
        if key not in hints:
            raise ConfigError(f"unknown key backbone.{key}. Known: {', '.join(known)}.")
        setattr(config, key, _typed(f"backbone.{key}", value, hints[key]))
    return config


def bench_config(name: str, settings: Mapping[str, Value]) -> BackboneConfig:
    """``backbone_config``, checked against the family and the rules of the bench; no file is read.

    Raises:
        ConfigError: a value outside its rule, one that the model does not have, or
            ``freeze_backbone=false``, or ``fps``: frames come with the times of the clip here, and
            where there are none (``video_repeat``, a single real frame) the default stands for all.
            MissingPackageError: a setting needs a package.
    """
    config = backbone_config(name, settings)
    if "fps" in settings:
        raise ConfigError(
            f"backbone.fps must be left out on the bench (got {settings['fps']!r}): a clip brings "
            "the times of its frames; set clip.fps"
        )
    family_class(foundation_model(name).family).check_settings(config)
    if not config.freeze_backbone:
        raise ConfigError(
            "freeze_backbone must be true on the bench (got false): heads are trained on "
            "features that are computed once. Tune the model first, with VideoBackbone, keep it "
            "with VideoBackbone.save(folder), and take backbone.model_id=folder"
        )
    config.validate()
    return config


def _typed(key: str, value: Value, hint: type | UnionType) -> Value:
    """Convert a text to the type of its field; other values are returned unchanged."""
    if not isinstance(value, str) or hint not in (bool, int, float):
        return value
    assert isinstance(hint, type)
    words = {"true": True, "false": False}
    try:
        if hint is bool:
            return words[value.lower()]
        return int(value) if hint is int else float(value)
    except (KeyError, ValueError) as error:
        raise ConfigError(f"{key} must be {hint.__name__} (got {value!r})") from error


def _row_key(row: Sight) -> str:
    digest = hashlib.blake2b(row.frames.tobytes(), digest_size=16)
    digest.update(repr((row.frames.shape, row.text, row.is_image)).encode())
    digest.update(row.time_s.tobytes())
    digest.update(b"" if row.audio is None else row.audio.tobytes())
    return digest.hexdigest()


def __getattr__(name: str) -> Callable[..., HubBackbone]:
    """The backbone and its image twin, ``NAME_image``, of every published model."""
    base = name.removesuffix(IMAGE_SUFFIX)
    if base not in CATALOGUE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return partial(HubBackbone if base == name else HubImageBackbone, base)
