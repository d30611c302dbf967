"""Checkpoints of other people: nothing of theirs runs, and what is damaged is one line."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_image_checkpoints import save_tiny

from neon_sim.errors import CheckpointError, NeonError
from neon_sim.policies import BackboneConfig, VideoBackbone
from neon_sim.policies.backbones.foundation.family import family_class
from neon_sim.policies.backbones.weights.find import missing_shards
from neon_sim.policies.backbones.weights.opening import LIMITS, hold_folder
from neon_sim.registry import BACKBONES

FRAMES = [np.zeros((40, 40, 3), dtype=np.uint8)] * 2
FAMILIES = ("qwen_vl", "qwen_omni", "qwen3_vl", "vjepa2", "videomae", "tribev2", "fvlm")
IMAGES = {"siglip": "siglip", "dinov2": "dinov2", "timesformer": "timesformer", "vivit": "vivit"}
CODE = """
from pathlib import Path
Path({trace!r}).write_text("ran")
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast
class Config(PretrainedConfig): model_type = "planted"
class Model(PreTrainedModel): config_class = Config
class Tokenizer(PreTrainedTokenizerFast): pass
class Processor: pass
"""
AUTO_MAP = {
    "AutoConfig": "planted.Config",
    "AutoModel": "planted.Model",
    "AutoTokenizer": ["planted.Tokenizer", "planted.Tokenizer"],
    "AutoProcessor": "planted.Processor",
    "AutoImageProcessor": "planted.Processor",
    "AutoVideoProcessor": "planted.Processor",
    "AutoFeatureExtractor": "planted.Processor",
}


@pytest.fixture(autouse=True)
def _nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object) -> str:
        raise AssertionError("the user was asked whether to run foreign code")

    monkeypatch.setattr("builtins.input", asked)


def door(folder: Path, family: str) -> None:
    """As a user opens a foundation model."""
    size = family_class(family).TINY_IMAGE_SIZE
    config = BackboneConfig(str(folder), torch_dtype="float32", image_size=size)
    VideoBackbone(config).encode(video_frames=FRAMES)


@pytest.fixture(scope="module")
def original(tiny: Callable[[str], Path], tmp_path_factory: Any) -> Callable[[str], Path]:
    made = tmp_path_factory.mktemp("images")
    return lambda name: tiny(name) if name in FAMILIES else save_tiny(name, made)


@pytest.fixture
def copy(original: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    return lambda name: Path(shutil.copytree(original(name), tmp_path / "copy"))


def load(folder: Path, name: str) -> None:
    if name in FAMILIES:
        door(folder, name)
    else:
        BACKBONES.resolve(IMAGES[name])(model_id=str(folder))


def rewrite(path: Path, change: Callable[[Any], Any]) -> None:
    values = json.loads(path.read_text())
    path.write_text(json.dumps(change(values) or values))


def plant(folder: Path, trace: Path) -> None:
    """Code in every folder of a checkpoint, and every file there that could name it does."""
    for home in {path.parent for path in folder.rglob("*.json")}:
        (home / "planted.py").write_text(CODE.format(trace=str(trace)))
        for path in home.glob("*.json"):
            if path.name.endswith("config.json"):
                rewrite(path, lambda values: values | {"auto_map": AUTO_MAP})


@pytest.mark.parametrize("name", [*FAMILIES, *IMAGES])
def test_code_beside_a_known_architecture_is_left_alone(
    name: str, copy: Callable[[str], Path], tmp_path: Path
) -> None:
    folder, trace = copy(name), tmp_path / "trace"
    plant(folder, trace)
    load(folder, name)
    assert not trace.exists()


@pytest.mark.parametrize("name", ["siglip", "vivit", "qwen_vl", "vjepa2", "tribev2", "fvlm"])
def test_an_architecture_that_only_its_own_code_knows_is_refused(
    name: str, copy: Callable[[str], Path], tmp_path: Path
) -> None:
    folder, trace = copy(name), tmp_path / "trace"
    plant(folder, trace)
    part = {"tribev2": "text", "fvlm": "text"}.get(name, ".")
    rewrite(folder / part / "config.json", lambda values: values | {"model_type": "planted"})
    with pytest.raises(NeonError, match=r"code that it brings|type 'planted'") as caught:
        load(folder, name)
    assert "\n" not in str(caught.value)
    assert not trace.exists()


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
@pytest.mark.parametrize("part", [None, "vision_config"])
def test_a_kernel_of_the_hub_is_never_fetched(
    key: str, part: str | None, copy: Callable[[str], Path]
) -> None:
    folder = copy("siglip")

    def ask(values: Any) -> None:
        (values[part] if part else values)[key] = "someone/kernel"

    rewrite(folder / "config.json", ask)
    with pytest.raises(CheckpointError, match=r"'someone/kernel', a program from the hub"):
        load(folder, "siglip")


def test_adapters_that_point_elsewhere_are_refused(copy: Callable[[str], Path]) -> None:
    folder = copy("siglip")
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "/elsewhere"}')
    with pytest.raises(CheckpointError, match="merge them into it first"):
        load(folder, "siglip")


# ---- damaged ------------------------------------------------------------------------------------


def small(values: Any, key: str) -> Any:
    """The part of a config that holds the vision tower's ``key``."""
    for part in ("vision_config", "text_config"):
        if key in values.get(part, {}):
            return values[part]
    return values


def said(key: str, value: Any) -> Callable[[Any], Any]:
    def change(values: Any) -> None:
        small(values, key)[key] = value

    return change


CONFIGS: dict[str, Callable[[Any], Any] | str] = {
    "list": "[1, 2]",
    "text": '"clip"',
    "null": "null",
    "number": "7",
    "no json": "{",
    "empty": "",
    "nothing said": "{}",
    "NaN": '{"model_type": NaN}',
    "deep": "[" * 100_000,
    "no type": lambda values: {k: v for k, v in values.items() if k != "model_type"},
    "unknown type": lambda values: values | {"model_type": "no_such_model"},
    "type is a list": lambda values: values | {"model_type": ["siglip"]},
    "width is text": said("hidden_size", "wide"),
    "width is null": said("hidden_size", None),
    "width is negative": said("hidden_size", -16),
    "width is zero": said("hidden_size", 0),
    "width is a fraction": said("hidden_size", 16.5),
    "width is huge": said("hidden_size", 10**12),
    "another width": said("hidden_size", 32),
    "large width": said("hidden_size", 2**20),
    "layers without end": said("num_hidden_layers", 10**9),
    "more layers": said("num_hidden_layers", 5),
    "no heads": said("num_attention_heads", 0),
    "odd heads": said("num_attention_heads", 5),
    "patch of nothing": said("patch_size", 0),
    "patch is a list": said("patch_size", [8, 8]),
}


@pytest.mark.parametrize("name", ["videomae", "siglip"])
@pytest.mark.parametrize("case", CONFIGS)
def test_a_config_of_another_shape_is_one_line(
    name: str, case: str, copy: Callable[[str], Path]
) -> None:
    folder, change = copy(name), CONFIGS[case]
    if isinstance(change, str):
        (folder / "config.json").write_text(change)
    else:
        rewrite(folder / "config.json", change)
    with pytest.raises(NeonError) as caught:
        load(folder, name)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def with_header(length: int, header: bytes) -> Callable[[Path], Any]:
    return lambda file: file.write_bytes(struct.pack("<Q", length) + header)


def tensors(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Path], Any]:
    def write(file: Path) -> None:
        state = load_file(file)
        first = next(name for name in sorted(state) if state[name].ndim > 1)
        state[first] = change(state[first]).contiguous()
        save_file(state, file, metadata={"format": "pt"})

    return write


def dropped(file: Path) -> None:
    state = load_file(file)
    del state[next(name for name in sorted(state) if state[name].ndim > 1)]
    save_file(state, file, metadata={"format": "pt"})


WEIGHTS: dict[str, Callable[[Path], Any]] = {
    "cut off": truncated,
    "empty": lambda file: file.write_bytes(b""),
    "no header": lambda file: file.write_bytes(b"x" * 64),
    "endless header": with_header(2**62, b"{}"),
    "header of a list": with_header(2, b"[]"),
    "a folder": lambda file: (file.unlink(), file.mkdir()),
    "a pickle by that name": lambda file: torch.save({"a": torch.ones(2)}, file),
    "NaN": tensors(lambda tensor: tensor * float("nan")),
    "one infinity": tensors(lambda tensor: tensor.index_fill(0, torch.tensor([0]), float("inf"))),
    "another shape": tensors(lambda tensor: tensor[..., :1]),
    "other numbers": tensors(lambda tensor: tensor.flatten()[:1]),
    "one tensor less": dropped,
}


@pytest.mark.parametrize("name", ["videomae", "fvlm", "qwen_vl", "dinov2", "timesformer"])
@pytest.mark.parametrize("case", WEIGHTS)
def test_damaged_weights_are_one_line(name: str, case: str, copy: Callable[[str], Path]) -> None:
    folder = copy(name)
    WEIGHTS[case](folder / "model.safetensors")
    with pytest.raises(NeonError) as caught:
        load(folder, name)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("case", WEIGHTS)
def test_a_damaged_fusion_is_one_line(case: str, copy: Callable[[str], Path]) -> None:
    folder = copy("tribev2")
    WEIGHTS[case](folder / "fusion.safetensors")
    with pytest.raises(NeonError) as caught:
        load(folder, "tribev2")
    assert "fusion" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{",
        '{"image_mean": 0.5, "image_std": [1, 1, 1]}',
        '{"image_mean": ["a"], "image_std": []}',
        '{"image_mean": [0, 0, 0], "image_std": [1, 0, 1]}',
    ],
)
def test_a_processor_of_another_shape_is_one_line(text: str, copy: Callable[[str], Path]) -> None:
    folder = copy("videomae")
    for name in ("preprocessor_config.json", "video_preprocessor_config.json"):
        (folder / name).write_text(text)
    with pytest.raises(CheckpointError, match="preprocessor_config"):
        load(folder, "videomae")


@pytest.mark.parametrize(
    "index",
    [
        "[]",
        "{}",
        '{"weight_map": ["model.safetensors"]}',
        '{"weight_map": {"a": "../../else.safetensors"}}',
        '{"weight_map": {"a": "/etc/passwd"}}',
        '{"weight_map": {"a": 7}}',
    ],
)
def test_an_index_names_files_beside_it(index: str, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(CheckpointError, match=r"index\.json"):
        missing_shards(tmp_path)


def test_shards_without_end_are_not_counted(tmp_path: Path) -> None:
    (tmp_path / "model-1-of-99999999999.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="more than 10000"):
        missing_shards(tmp_path)
    (tmp_path / "model-1-of-99999999999.safetensors").unlink()
    (tmp_path / "model-a-of-b.safetensors").write_bytes(b"")
    assert missing_shards(tmp_path) == []


def test_limits_let_every_published_shape_pass(tmp_path: Path) -> None:
    from neon_sim.policies.backbones.weights.catalogue import CATALOGUE

    for row in CATALOGUE.values():
        (tmp_path / "config.json").write_text(json.dumps(row.shape))
        hold_folder(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": 2**24 + 1}))
    with pytest.raises(CheckpointError, match=f"1 to {LIMITS[1][1]}"):
        hold_folder(tmp_path)
