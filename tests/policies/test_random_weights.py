"""Checkpoints with random weights: a command, the same file every time, and shapes that hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from neon_sim.policies import BackboneConfig, VideoBackbone
from neon_sim.policies.backbones import counting
from neon_sim.policies.backbones.foundation.family import Family, family_class, family_classes
from neon_sim.policies.backbones.foundation.vision_language import with_positions
from neon_sim.policies.backbones.random_weights import main, make_tiny
from neon_sim.policies.backbones.weights.catalogue import CATALOGUE, part_of


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return {
        f"{path.relative_to(folder)}/{name}": tensor
        for path in sorted(folder.rglob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }


def test_every_family_has_a_tiny_shape():
    for kind in family_classes():
        assert kind.TINY
        assert kind.TINY_IMAGE_SIZE
        assert any("write_random" in vars(base) for base in kind.__mro__ if base is not Family)


def test_the_command_writes_what_the_front_door_opens(tmp_path, capsys):
    folder = tmp_path / "weights"
    assert main(["qwen_omni_3b", str(folder)]) == 0
    train, run = capsys.readouterr().out.splitlines()[1:]
    assert train.split()[3:5] == ["policy=qwen_omni_3b", f"backbone.model_id={folder}"]
    assert run.split()[2:5] == ["--policy", "qwen_omni_3b", f"backbone.model_id={folder}"]
    assert train.split()[5] == run.split()[5]
    size = int(run.split()[5].removeprefix("backbone.image_size="))
    assert size >= 96, "frames of the default clip fit"
    config = BackboneConfig(str(folder), torch_dtype="float32", image_size=size)
    frames = np.zeros((4, 96, 96, 3), dtype=np.uint8)
    found = VideoBackbone(config).encode(video_frames=frames, text="catch the moving ball")
    assert torch.isfinite(found["hidden_states"]).all()


@pytest.mark.parametrize("family", ["tribev2", "fvlm"])
def test_the_same_weights_whatever_was_drawn_before(family, tmp_path):
    first = tensors(make_tiny(family, tmp_path / "first"))
    torch.rand(7)
    second = tensors(make_tiny(family, tmp_path / "second"))
    assert set(second) == set(first)
    assert all(torch.equal(second[name], value) for name, value in first.items())


def test_wrong_names_and_full_folders_are_one_line(tmp_path, capsys):
    assert main(["qwen_omni_4b", str(tmp_path / "x")]) == 2
    assert "Known: " in capsys.readouterr().err
    (tmp_path / "mine.txt").write_text("mine")
    assert main(["qwen_omni_3b", str(tmp_path)]) == 2
    assert "new or empty" in capsys.readouterr().err
    assert (tmp_path / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "width"), [("qwen_vl_3b", 64), ("qwen_omni_7b", 64), ("cosmos_reason2_2b", 64)]
)
def test_positions_of_the_published_shapes_fill_a_head(name, width):
    text: dict[str, Any] = with_positions(part_of(CATALOGUE[name].shape, "text_config"))
    assert sum(text["rope_parameters"]["mrope_section"]) == width


def test_published_shapes_are_those_that_are_counted(monkeypatch, tmp_path):
    """The network that is made is the one whose parameters ``list backbones`` tells."""
    row = CATALOGUE["fvlm_135m"]
    made: list[int] = []
    monkeypatch.setattr(
        "neon_sim.policies.backbones.foundation.fvlm.spread",
        lambda network, seed=0: (
            made.append(sum(p.numel() for p in network.parameters())) or network
        ),
    )
    monkeypatch.setattr("neon_sim.policies.backbones.foundation.fvlm.save_file", lambda *_: None)
    with torch.device("meta"):
        family_class(row.family).write_random(tmp_path, row.shape)
    assert made == [counting.size_of(row.name).parameters]
