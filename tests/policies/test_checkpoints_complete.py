"""A checkpoint that lacks weights is refused: transformers alone would make them up."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from neon_sim.errors import CheckpointError
from neon_sim.policies import BackboneConfig, VideoBackbone
from neon_sim.policies.backbones.foundation.family import family_class
from neon_sim.registry import FAMILIES

PARTS = {"tribev2": ("video", "audio", "text", ".")}
CASES = [(family, part) for family in FAMILIES for part in PARTS.get(family, (".",))]


@pytest.fixture
def copy(tiny: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """A tiny checkpoint to spoil."""

    def make(family: str) -> Path:
        return Path(shutil.copytree(tiny(family), tmp_path / family))

    return make


def opened(folder: Path, family: str) -> VideoBackbone:
    size = family_class(family).TINY_IMAGE_SIZE
    model = VideoBackbone(BackboneConfig(str(folder), torch_dtype="float32", image_size=size))
    model.load()
    return model


def change(file: Path, edit: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    from safetensors import safe_open

    with safe_open(file, "pt") as old:
        metadata = old.metadata()
    save_file(edit(load_file(file)), file, metadata=metadata)


def weights_file(folder: Path, part: str) -> Path:
    here = folder / part
    return next(iter(sorted(here.glob("model*.safetensors")) or sorted(here.glob("*.safetensors"))))


@pytest.mark.parametrize(("family", "part"), CASES)
def test_a_missing_tensor_is_an_error(family: str, part: str, copy: Callable[[str], Path]) -> None:
    folder = copy(family)
    opened(folder, family)

    def without_one(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        read = [name for name in state if not name.startswith(("predictor.", "masked_spec"))]
        largest = max(read, key=lambda name: (state[name].ndim > 1, name))
        return {name: value for name, value in state.items() if name != largest}

    change(weights_file(folder, part), without_one)
    with pytest.raises(CheckpointError, match=r"lacks|missing"):
        opened(folder, family)


@pytest.mark.parametrize("family", ["qwen_vl", "vjepa2"])
def test_a_file_of_another_model_is_an_error(family: str, copy: Callable[[str], Path]) -> None:
    folder = copy(family)
    change(weights_file(folder, "."), lambda _: {"x": torch.ones(3)})
    with pytest.raises(CheckpointError, match=r"random numbers|weights of other shapes"):
        opened(folder, family)


def test_weights_of_another_shape_are_an_error(copy: Callable[[str], Path]) -> None:
    folder = copy("videomae")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 96}))
    with pytest.raises(CheckpointError, match="other shapes"):
        opened(folder, "videomae")


def test_what_nothing_reads_may_be_missing(copy: Callable[[str], Path]) -> None:
    """Published encoders come without V-JEPA 2's predictor."""
    folder = copy("vjepa2")

    def encoder(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: value for name, value in state.items() if not name.startswith("predictor.")}

    change(weights_file(folder, "."), encoder)
    opened(folder, "vjepa2")


@pytest.mark.parametrize(
    ("family", "prefix"),
    [("qwen_vl", "model."), ("qwen_omni", "thinker.model."), ("videomae", "videomae.")],
)
def test_the_published_names_are_read(
    family: str, prefix: str, tiny: Callable[[str], Path], copy: Callable[[str], Path]
) -> None:
    """The hub's files name the same tensors as parts of a larger model."""

    def published(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        renamed = {}
        for name, value in state.items():
            inner = name.removeprefix("language_model.")
            outer = prefix.removesuffix("model.")
            towers = ("visual.", "audio_tower.")
            renamed[f"{outer if name.startswith(towers) else prefix}{inner}"] = value
        return renamed

    folder = copy(family)
    change(weights_file(folder, "."), published)
    expected, found = (
        opened(path, family).family.network.state_dict() for path in (tiny(family), folder)
    )
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
