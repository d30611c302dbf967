"""``VideoBackbone(BackboneConfig(model_id=...))``: one interface to every family.

Loading is lazy: making the object reads nothing, ``load()`` (or the first ``encode``) does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from neon_sim.errors import ConfigError
from neon_sim.rules import shown

from ..weights.catalogue import CATALOGUE, hearing_models
from ..weights.find import find_weights, read_config
from ..weights.opening import reading
from .family import WHOLE, EncodedRow, Family, family_class, family_classes
from .inputs import (
    AUDIO_HZ,
    Pictures,
    Sight,
    Sound,
    check_audio,
    check_frames,
    check_rate,
    check_text,
    check_times,
    listed,
    listed_frames,
)
from .settings import BackboneConfig


@dataclass(frozen=True)
class BackboneInput:
    """One row for ``encode_batch``; the arguments of ``VideoBackbone.encode``.

    Attributes:
        images / video_frames: PIL images or (H, W, 3) uint8 arrays, oldest first; give one.
        text: instruction. audio: (L,) or (C, L) float32 in [-1, 1].
        time_s: (T,) seconds of the frames of a clip, ascending; ``fps`` apart by default.
        sampling_rate: of the sound, Hz.
    """

    images: Pictures | None = None
    video_frames: Pictures | None = None
    text: str | None = None
    audio: Sound | None = None
    time_s: Sequence[float] | None = field(default=None)
    sampling_rate: int = AUDIO_HZ


class VideoBackbone:
    """A foundation backbone behind one interface.

    Args:
        config: what to load and how.

    Attributes:
        family: the loaded architecture, None before ``load``.

    Raises:
        ConfigError: no ``BackboneConfig``. Its fields are checked by ``load`` and ``encode``.
    """

    def __init__(self, config: BackboneConfig) -> None:
        if not isinstance(config, BackboneConfig):
            raise ConfigError(
                f"config must be a BackboneConfig (got {shown(config)}, a "
                f"{type(config).__name__}); give BackboneConfig(model_id=...)"
            )
        self.config = config
        self.family: Family | None = None

    def load(self) -> None:
        """Find, check and read the weights; a second call does nothing.

        Raises:
            ConfigError: a setting outside its rule, or an architecture nobody here knows.
            CheckpointError: the weights are not to be had. MissingPackageError: see there.
        """
        if self.family is None:
            family = open_family(self.config)
            with reading(self.config.model_id):
                family.load()
            self.family = family

    def encode(
        self,
        images: Pictures | None = None,
        video_frames: Pictures | None = None,
        text: str | None = None,
        audio: Sound | None = None,
        time_s: Sequence[float] | None = None,
        sampling_rate: int = AUDIO_HZ,
    ) -> dict[str, Tensor]:
        """Encode one image or clip with its instruction and sound.

        A family without ``needs_sight`` may also be given sound or text alone. Its clip then lasts
        as long as the sound.

        Returns:
            ``hidden_states`` (1, S, D), every token of the last layer, and ``pooled`` (1, D),
            their mean; float32, on the CPU unless gradients are wanted.

        Raises:
            ConfigError: neither or both of images and video_frames; frames that are no uint8 RGB,
                too many, too large or of different sizes; times that do not fit them; a text that
                is no str; or sound of another shape, dtype, range or rate, or that the model
                cannot hear.
        """
        row = BackboneInput(images, video_frames, text, audio, time_s, sampling_rate)
        return self.encode_batch([row])[0]

    def encode_batch(self, rows: Sequence[BackboneInput]) -> list[dict[str, Tensor]]:
        """Encode several rows in as few calls of the network as their shapes allow.

        Returns:
            What ``encode`` returns for each of them, in order.

        Raises:
            ConfigError: see ``encode``.
        """
        self.config.validate()
        given = listed("rows", rows)
        for row in given:
            if not isinstance(row, BackboneInput):
                raise ConfigError(
                    f"rows must be BackboneInput, one a clip (got {shown(row)}, a "
                    f"{type(row).__name__}); give BackboneInput(video_frames=..., text=...)"
                )
        sights = [
            self._sight(row) for row in given
        ]  # wrong inputs are errors before anything is loaded
        self.load()
        assert self.family is not None
        for sight in sights:
            name = type(self.family).__name__
            if sight.text and not self.family.reads:
                raise ConfigError(f"{name} cannot read, but text was given; leave it out")
            if sight.audio is not None and not self.family.hears:
                other = hearing_models()[0][0]
                raise ConfigError(
                    f"{name} cannot hear, but audio was given; leave it out, or use {other}"
                )
        return [self._result(row) for row in self.encode_sights(sights)]

    def encode_sights(
        self, rows: Sequence[Sight], block_rows: int | None = None
    ) -> list[EncodedRow]:
        """Encode checked rows; see ``Family.encode_rows``."""
        self.load()
        assert self.family is not None
        aligned = [self.family.aligned(row) for row in rows]
        with torch.set_grad_enabled(not self.config.freeze_backbone and torch.is_grad_enabled()):
            return self.family.encode_rows(aligned, block_rows)

    def save(self, folder: str | Path) -> Path:
        """Write a tuned model as a checkpoint of its own, adapters merged into the weights.

        The folder holds config, processor and safetensors in ``torch_dtype``; NF4 is unpacked.
        ``backbone.model_id=folder`` puts it on the bench. Tuning can go on after it.

        Returns:
            The folder.

        Raises:
            ConfigError: the folder is not empty, or the family is never tuned here.
        """
        self.load()
        assert self.family is not None
        target = Path(folder).expanduser()
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise ConfigError(
                f"save writes into a new or empty folder (got {target}, which holds something); "
                "name another"
            )
        self.family.save(target)
        return target

    def _result(self, row: EncodedRow) -> dict[str, Tensor]:
        hidden = row.hidden.float()
        hidden = (hidden if hidden.requires_grad else hidden.cpu()).unsqueeze(0)
        return {"hidden_states": hidden, "pooled": hidden.mean(dim=1)}

    def _sight(self, row: BackboneInput) -> Sight:
        check_rate(row.sampling_rate)
        if (row.images is None) == (row.video_frames is None):
            if row.images is None and (row.text or row.audio is not None) and self._sees_without():
                return self._unseen(row)
            found = "neither" if row.images is None else "both"
            blind = [kind.TITLE for kind in family_classes() if not kind.needs_sight]
            raise ConfigError(
                f"encode needs images or video_frames, one of them (got {found}); text and sound "
                f"alone are enough for {' and '.join(blind)} only"
            )
        still = row.images is not None
        given = row.images if row.images is not None else row.video_frames
        assert given is not None
        pictures = listed_frames("images" if still else "video_frames", given)
        if still and len(pictures) != 1:
            raise ConfigError(
                f"images must hold one image (got {len(pictures)}); several frames of a camera go "
                "into video_frames, oldest first"
            )
        frames = check_frames(
            pictures, max_frames=self.config.max_frames, image_size=self.config.image_size
        )
        audio = None if row.audio is None else check_audio(row.audio)
        times = (
            np.zeros(len(frames)) if row.time_s is None else check_times(row.time_s, len(frames))
        )
        return Sight(frames, times, check_text(row.text), audio, still)

    def _sees_without(self) -> bool:
        kind = known_family(self.config.model_id)
        return kind is not None and not kind.needs_sight

    def _unseen(self, row: BackboneInput) -> Sight:
        """A row of sound or text alone."""
        audio = None if row.audio is None else check_audio(row.audio)
        spanned = 1 if audio is None else round(len(audio) / AUDIO_HZ * self.config.fps)
        count = min(max(spanned, 1), self.config.max_frames)
        nothing = np.zeros((0, 1, 1, 3), dtype=np.uint8)
        return Sight(nothing, np.arange(count) / self.config.fps, check_text(row.text), audio)


def open_family(config: BackboneConfig, name: str | None = None) -> Family:
    """Find the weights and read the architecture, but not yet the tensors.

    Args:
        config: what to open. name: of the family; by default that of the checkpoint.

    Raises:
        ConfigError, CheckpointError: see ``VideoBackbone.load``.
    """
    config.validate()
    kind = known_family(config.model_id) if name is None else family_class(name)
    here = config
    if kind is None:  # only the files tell
        folder = find_weights(config.model_id, config.revision)
        kind, here = family_of_files(folder), replace(config, model_id=str(folder), revision=None)
    kind.check_settings(config)
    folders = kind.find(here)
    with reading(folders.get(WHOLE, config.model_id)):
        return kind(config, folders)


def known_family(model_id: str) -> type[Family] | None:
    """The family of a published model, or of a folder that is laid out as no other family's is."""
    for row in CATALOGUE.values():
        if model_id == row.model_id:
            return family_class(row.family)
    folder = Path(model_id).expanduser()
    return next((kind for kind in family_classes() if kind.claims(folder)), None)


def family_of_files(folder: Path) -> type[Family]:
    """The family that reads the ``config.json`` of a folder.

    Raises:
        ConfigError: no family does.
    """
    found = str(read_config(folder).get("model_type"))
    kinds = {word: kind for kind in family_classes() for word in kind.MODEL_TYPES}
    if found not in kinds:
        raise ConfigError(
            f"{folder} holds a model of type {found!r}; known: {', '.join(sorted(kinds))}"
        )
    return kinds[found]
