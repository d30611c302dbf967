"""Every registered backbone: some conformance test covers it, training leaves it as it was, and
what the cache holds is what the live policy gets."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from encoder_cases import CASES, IMAGE_CASES, NEEDS, VIDEO_CASES
from encoder_cases import _small_mvit as _small_mvit  # an autouse fixture, here too
from encoder_cases import batch as clips
from family_cases import FAMILIES, IMAGE_SIZES, NAMES
from tiny_image_checkpoints import save_tiny
from train_fakes import SIZE, blob_episode, live_batch

from neon_sim import registry
from neon_sim.config.policy import PolicyConfig
from neon_sim.demonstrations.assemble import assemble
from neon_sim.demonstrations.shards import shard_path, write_shard
from neon_sim.observation.batch import ClipBatch
from neon_sim.observation.clips import ClipConfig
from neon_sim.policies.backbones.weights.catalogue import CATALOGUE
from neon_sim.policies.training.feature_cache import episode_layout
from neon_sim.policies.training.settings import TrainConfig
from neon_sim.policies.training.trainer import Trainer
from neon_sim.registry import BACKBONES

# What comes without weights of others, and its arguments here.
OWN: dict[str, dict[str, str]] = {
    "random": {"dim": "24"},
    "random_image": {"dim": "24"},
    "neon_tiny": {},
    "neon_tiny_image": {},
    "exact_motion": {"image": "random_image"},
    "state": {},
    "none": {},
}
WEIGHTLESS = ("state", "none")
ELSEWHERE = {"exact_flow"}  # reads what no dataset here holds: test_flow.py
TWINS = [f"{NAMES[family]}_image" for family in FAMILIES]
TRAINED = [*(set(OWN) - set(WEIGHTLESS)), *CASES, *NAMES.values(), *TWINS]
SEES_FRAMES = {"random_image", "neon_tiny_image", "exact_motion", *IMAGE_CASES, *TWINS}
STRIDE, FRAMES = 20, 4


class Run(NamedTuple):
    """A head that was trained behind a backbone, and the backbone's weights before and after."""

    trainer: Trainer
    before: dict[str, torch.Tensor]
    after: dict[str, torch.Tensor]


def weights_of(backbone: Any) -> dict[str, torch.Tensor]:
    """Every tensor a backbone reaches, in memory and by reference: of modules, of the encoders
    and families it wraps."""
    found: dict[str, torch.Tensor] = {}

    def walk(value: Any, path: str) -> None:
        if isinstance(value, torch.nn.Module):
            for kind in (value.named_parameters(), value.named_buffers()):
                found.update({f"{path}.{name}": tensor for name, tensor in kind})
        elif isinstance(value, torch.Tensor):
            found[path] = value
        elif type(value).__module__.startswith("neon_sim.policies.backbones."):
            for name, part in vars(value).items():
                walk(part, f"{path}.{name}")

    walk(backbone, "")
    return found


def enlarged(video: np.ndarray, name: str) -> np.ndarray:
    """Frames (..., 48, 48, 3), twice as large for the backbone that takes 96 pixels alone."""
    return video.repeat(2, axis=-3).repeat(2, axis=-2) if name.startswith("neon_tiny") else video


def test_no_registered_backbone_is_left_out() -> None:
    """A new name belongs into a table of ``test_encoders``, ``random_weights`` or this file."""
    covered = {*OWN, *ELSEWHERE, *CASES, *(f"{name}_image" for name in VIDEO_CASES)}
    rows = [row for row in CATALOGUE.values() if row.family in NAMES]
    covered |= {f"{row.name}{twin}" for row in rows for twin in ("", "_image")}
    assert set(BACKBONES) == covered
    assert set(FAMILIES) == set(registry.FAMILIES)
    for entry in registry.FAMILIES.values():
        kind = entry.resolve()
        assert kind.TINY, f"a tiny checkpoint of {entry.name}"
        assert entry.models == tuple(row.name for row in kind.PUBLISHED)


@pytest.mark.parametrize("name", OWN)
def test_rows_and_padding_of_our_own(name: str) -> None:
    """A row is the same in every batch, and what stands on padded frames changes nothing."""
    backbone, rng = BACKBONES.resolve(name)(**OWN[name]), np.random.default_rng(1)
    video, state = clips().video, rng.normal(size=(4, FRAMES, 16)).astype(np.float32)
    assert video is not None
    video = enlarged(video, name)
    seen = replace(clips(), state=state, video=video)
    whole = backbone.encode(seen)
    assert whole.hidden.shape[1] == backbone.num_tokens(FRAMES)
    assert torch.isfinite(whole.hidden).all()
    padding = ~seen.mask
    noise, other = video.copy(), state.copy()
    noise[padding], other[padding] = 255 - video[padding], state[padding] + 1.0
    painted = replace(seen, video=noise, state=other)
    for row in range(4):
        alone = backbone.encode(painted.rows(row, row + 1))
        assert torch.equal(alone.mask[0], whole.mask[row])
        real = whole.mask[row]
        assert torch.equal(alone.hidden[0][real], whole.hidden[row][real])


# ---- behind a head that is trained -------------------------------------------------------------


@pytest.fixture(scope="module")
def arguments_of(
    tiny: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], dict[str, str]]:
    """The arguments of a backbone here, weights of a tiny checkpoint among them."""
    folder = tmp_path_factory.mktemp("encoders")

    def find(name: str) -> dict[str, str]:
        for family, row in NAMES.items():
            if name.removesuffix("_image") == row:
                size = {"image_size": str(IMAGE_SIZES[family]), "torch_dtype": "float32"}
                return {"model_id": str(tiny(family)), **size}
        case = OWN.get(name, CASES.get(name, {}))
        return {
            key: str(save_tiny(value[1:-1], folder)) if value.startswith("{") else value
            for key, value in case.items()
        }

    return find


@pytest.fixture(scope="module")
def trained(
    arguments_of: Callable[[str], dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Run]:
    """Two steps of a head behind a backbone, on one episode; once for all tests."""
    root, episode = tmp_path_factory.mktemp("behind"), blob_episode(0)

    @cache
    def data(size: int) -> Path:
        frames = enlarged(episode.frames["front"], "neon_tiny" if size > SIZE else "")
        folder = root / str(size)
        path = shard_path(folder, 0)
        write_shard(path, replace(episode, frames={"front": frames}))
        assemble(folder, [path], {"made_with": {"neon_sim": "test"}})
        return folder

    @cache
    def run(name: str) -> Run:
        arguments = arguments_of(name)
        backbone = BACKBONES.resolve(name)(**arguments)
        if name in (*NAMES.values(), *TWINS):
            backbone.model.load()  # by itself at the first clip, which is too late to look
        size = 2 * SIZE if name.startswith("neon_tiny") else SIZE
        before = {key: value.clone() for key, value in weights_of(backbone).items()}
        policy = PolicyConfig(
            name="tested",
            backbone=name,
            image_backbone=name,
            backbone_args=arguments,
            condition="stack" if name in SEES_FRAMES else "video",
            stack_connector="identity",
            fusion="pooled",
            max_tokens=10_000,
            clip=ClipConfig(num_frames=FRAMES, image_size=size),
        )
        config = TrainConfig(
            data=[str(data(size))],
            cache=str(root / "features"),
            steps=2,
            batch_size=2,
            window_stride=STRIDE,
            val_fraction=0.0,
            device="cpu",
        )
        trainer = Trainer(config, policy, backbone, progress=False)
        trainer.run()
        return Run(trainer, before, weights_of(backbone))

    def checked(name: str) -> Run:
        if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
            pytest.skip(f"{NEEDS[name]} is not installed (pip install neon-sim[encoders])")
        return run(name)

    return checked


@pytest.mark.parametrize("name", sorted(TRAINED))
def test_training_a_head_leaves_every_weight_as_it_was(
    name: str, trained: Callable[[str], Run]
) -> None:
    trainer, before, after = trained(name)
    assert before
    assert before.keys() == after.keys()
    assert [key for key in before if not torch.equal(before[key], after[key])] == []
    assert not any(value.requires_grad or value.grad is not None for value in after.values())
    learned = [p for group in trainer.optimiser.param_groups for p in group["params"]]
    assert not {p.data_ptr() for p in learned} & {value.data_ptr() for value in after.values()}
    assert all(trainer.optimiser.state[p]["step"] == 2 for p in learned), "the head did learn"
    key = max(after, key=lambda key: after[key].numel())
    kept = after[key].clone()
    with torch.no_grad():  # and a weight that moved would have been seen
        after[key].add_(1)
        moved = torch.equal(before[key], weights_of(trainer.tower.backbone)[key])
        after[key].copy_(kept)
    assert not moved


@pytest.mark.parametrize("name", sorted(TRAINED))
def test_a_cached_feature_is_the_live_one(name: str, trained: Callable[[str], Run]) -> None:
    """To the bit, an episode's first window, whose past is padding, among them."""
    trainer = trained(name).trainer
    (dataset,), tower = trainer.datasets, trainer.tower
    layout = episode_layout(tower, dataset.episodes[0].length, STRIDE)
    episode, frames = dataset.load(0), dataset.frames(0)
    seen: ClipBatch = live_batch(episode, frames, layout.plans, layout.steps)
    live = tower.encode(seen)
    hidden, mask, time_s = trainer.features.gather(np.arange(len(layout.steps)))
    assert len(hidden) == 2
    assert torch.equal(mask, live.mask)
    assert bool(mask.all()) == (mask.shape[1] == 1), "frames before the episode are padding"
    assert torch.equal(time_s, live.time_s)
    assert torch.equal(hidden[mask], live.hidden[live.mask])
    assert hidden[mask].float().std() > 0
