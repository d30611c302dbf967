"""Wrong calls of the front door of foundation backbones: pictures, sound, words, times, settings.

Each is one error that names the thing, the rule and the mend, before any weight is read.
"""

from __future__ import annotations

import dataclasses
from ast import literal_eval
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from malformed_calls import outside, plain
from PIL import Image

from neon_sim.errors import NeonError
from neon_sim.policies import BackboneConfig, BackboneInput, VideoBackbone
from neon_sim.rules import noted_hints

pytestmark = pytest.mark.usefixtures("hub_extra")

SIDE, HZ = 28, 16_000
NAN, INF = float("nan"), float("inf")
BLACK = np.zeros((SIDE, SIDE, 3), np.uint8)
TONE = np.sin(np.arange(HZ // 2, dtype=np.float32) / 10)
META = torch.zeros(1, SIDE, SIDE, 3, dtype=torch.uint8, device="meta")
GRADIENT = torch.zeros(SIDE, SIDE, 3, requires_grad=True)
Tiny = Callable[[str], Path]
Wrong = tuple[str, dict[str, Any], str]  # what is wrong, the call, what its error names


def filled(place: int, value: float) -> np.ndarray:
    """A tone with one wrong sample."""
    sound = TONE.copy()
    sound[place] = value
    return sound


PICTURES: dict[str, Any] = {
    "a number": 3,
    "a name": "a.png",
    "bytes": b"\x89PNG",
    "a path": Path("a.png"),
    "a dict": {"frame": BLACK},
    "a set": {1},
    "nothing": [],
    "an empty array": np.zeros((0, SIDE, SIDE, 3), np.uint8),
    "one array": BLACK,
    "one PIL image": Image.new("RGB", (SIDE, SIDE)),
    "a batch of clips": BLACK[None, None],
    "a flat array": BLACK.ravel(),
    "a scalar array": np.uint8(3),
    "a generator of nothing": iter(()),
    "too many": [BLACK] * 17,
    "None inside": [None],
    "names inside": ["a.png"],
    "a clip inside": [BLACK[None]],
    "float32": [BLACK.astype(np.float32)],
    "float64 NaN": [np.full(BLACK.shape, NAN)],
    "float64 inf": [np.full(BLACK.shape, INF)],
    "int64": [BLACK.astype(np.int64)],
    "uint16": [BLACK.astype(np.uint16)],
    "bool": [BLACK > 0],
    "complex": [BLACK.astype(complex)],
    "object": [BLACK.astype(object)],
    "lists of numbers": [BLACK.tolist()],
    "grey": [BLACK[..., 0]],
    "grey PIL": [Image.new("L", (SIDE, SIDE))],
    "palette PIL": [Image.new("P", (SIDE, SIDE))],
    "one channel": [BLACK[..., :1]],
    "RGBA": [np.zeros((SIDE, SIDE, 4), np.uint8)],
    "channels first": [BLACK.transpose(2, 0, 1)],
    "channels first in one tensor": torch.zeros(1, 3, SIDE, SIDE, dtype=torch.uint8),
    "float tensor": torch.zeros(1, SIDE, SIDE, 3),
    "a tensor with gradient": [GRADIENT],
    "a tensor without data": META,
    "no rows": [BLACK[:0]],
    "no columns": [BLACK[:, :0]],
    "no pixel": [BLACK[:0, :0]],
    "too high": [np.zeros((57, SIDE, 3), np.uint8)],
    "too wide": [np.zeros((SIDE, 4097, 3), np.uint8)],
    "ragged": [[[1, 2], [3]]],
    "sizes that differ": [BLACK, BLACK[:14]],
    "types that differ": [BLACK, BLACK.astype(np.float32)],
}
SOUNDS: dict[str, Any] = {
    "a number": 3,
    "a name": "a.wav",
    "bytes": b"RIFF",
    "a dict": {"array": TONE},
    "nothing": [],
    "an empty array": TONE[:0],
    "too short": TONE[:1599],
    "a NaN": filled(5, NAN),
    "all NaN": TONE * NAN,
    "inf": filled(0, INF),
    "minus inf": filled(-1, -INF),
    "too loud": TONE * 1.1,
    "much too loud": TONE * 1e30,
    "float64 too loud": TONE.astype(np.float64) * 1e300,
    "too loud in channels that cancel": np.stack([TONE * 100, -TONE * 100]),
    "NaN in one channel": np.stack([TONE, TONE * NAN]),
    "int16": (TONE * 32767).astype(np.int16),
    "uint8": (TONE * 100 + 128).astype(np.uint8),
    "bool": TONE > 0,
    "complex": TONE.astype(complex),
    "words": ["a"] * HZ,
    "None inside": [None] * HZ,
    "whole numbers": [0, 1] * HZ,
    "a scalar array": np.float32(0.5),
    "no channel": np.zeros((0, HZ), np.float32),
    "samples first": np.stack([TONE, TONE], axis=1),
    "a batch": TONE[None, None],
    "ragged": [[0.5, 0.5], [0.5]],
    "a tensor with gradient": torch.tensor(TONE).requires_grad_(),
    "a tensor without data": torch.zeros(HZ, device="meta"),
}
RATES = (0, -1, 8_000, 44_100, 16_000.5, NAN, INF, "16000", None, True, [HZ], np.array([HZ]), 1j)
WORDS: dict[str, Any] = {
    "a number": 3,
    "NaN": NAN,
    "bytes": b"go",
    "a list": ["go"],
    "an empty list": [],
    "a dict": {"text": "go"},
    "true": True,
    "an array": np.array(["go"]),
    "NUL": "go\0",
    "no UTF-8": "go \udcff",
    "half a character": "\ud83d",
}
TIMES: dict[str, Any] = {
    "a number": 3,
    "a word": "ab",
    "an empty word": "",
    "none": [],
    "too few": [0.0],
    "too many": [0.0, 1.0, 2.0],
    "NaN": [0.0, NAN],
    "NaN first": [NAN, 0.0],
    "inf": [0.0, INF],
    "inf twice": [INF, INF],
    "descending": [1.0, 0.0],
    "None inside": [None, 1.0],
    "numbers as text": ["0", "1"],
    "words": ["a", "b"],
    "complex": [0, 1j],
    "true": [False, True],
    "a batch": [[0.0, 1.0]],
    "a dict": {0: 0.0, 1: 1.0},
    "a set": {0.0, 1.0},
    "ragged": [[0.0], [0.0, 1.0]],
    "years": [0.0, 1e9],
    "huge": [0.0, 1e300],
    "wider than a float": [-1.7e308, 1.7e308],
    "a tensor without data": torch.zeros(2, device="meta"),
}
ROWS: dict[str, Any] = {
    "a number": 3,
    "None": None,
    "a word": "ab",
    "one row": BackboneInput(images=[BLACK]),
    "a dict": {"images": [BLACK]},
    "None inside": [None],
    "dicts inside": [{"images": [BLACK]}],
    "tuples inside": [([BLACK], None, "go")],
    "pictures": [BLACK],
    "a batch inside": [[BackboneInput(images=[BLACK])]],
    "a wrong one behind a right one": [BackboneInput(images=[BLACK]), BackboneInput()],
}
BOTH: dict[str, Any] = {"images": [BLACK], "video_frames": [BLACK]}


def wrong_inputs() -> Iterator[Wrong]:
    """Calls of ``encode`` with one thing wrong."""
    for key, thing in (("images", "image|frame"), ("video_frames", "frame")):
        for said, value in PICTURES.items():
            yield f"{key}: {said}", {key: value}, thing
    for said, value in SOUNDS.items():
        yield f"audio: {said}", {"images": [BLACK], "audio": value}, "audio"
    for rate in RATES:
        yield f"rate: {rate!r}", {"images": [BLACK], "sampling_rate": rate}, "sampling_rate"
        heard = {"images": [BLACK], "audio": TONE, "sampling_rate": rate}
        yield f"rate of sound: {rate!r}", heard, "sampling_rate"
    for said, value in WORDS.items():
        yield f"text: {said}", {"images": [BLACK], "text": value}, "text"
    for said, value in TIMES.items():
        yield f"time_s: {said}", {"video_frames": [BLACK, BLACK], "time_s": value}, "time_s"
    none: dict[str, Any] = {}
    for said, what in (("nothing", none), ("words alone", {"text": "go"}), ("both", BOTH)):
        yield f"pictures: {said}", what, "images or video_frames"


def wrong_settings() -> Iterator[Wrong]:
    """Fields of ``BackboneConfig``, each of another type or outside its rule."""
    words: tuple[Any, ...] = (3, 1.5, None, True, [], {}, b"x", "a\0b", "\udcff", "", "no such")
    numbers: tuple[Any, ...] = (None, True, "8", "x", "", NAN, INF, -INF, [8], {}, 1j, b"8")
    hints = noted_hints(BackboneConfig)
    for item in dataclasses.fields(BackboneConfig):
        kind, rule = plain(hints[item.name])
        free = (None,) if item.name in ("revision", "fusion") else ()
        values: list[Any]
        if kind is bool:
            values = [0, 1, "true", "", None, NAN, []]
        elif kind is str:
            values = [value for value in words if not any(value is one for one in free)]
        else:
            values = [*numbers, *(literal_eval(text) for text in outside(kind, rule))]
        for value in values:
            yield f"{item.name}: {value!r}", {item.name: value}, item.name


INPUTS, SETTINGS = list(wrong_inputs()), list(wrong_settings())


def held(call: Callable[[], object], thing: str) -> str:
    """What a wrong call is told: the thing, the rule and the mend, in one line."""
    with pytest.raises(NeonError) as caught:
        call()
    said = str(caught.value)
    assert any(name in said.partition("(got")[0] for name in thing.split("|")), said
    assert "\n" not in said
    assert len(said) < 500, said
    return said


def test_there_are_enough_of_them() -> None:
    assert len({said for said, _, _ in INPUTS}) == len(INPUTS) >= 180
    assert len({said for said, _, _ in SETTINGS}) == len(SETTINGS) >= 150


@pytest.fixture
def config(tiny: Tiny) -> BackboneConfig:
    """A tiny model that sees, reads and hears."""
    return BackboneConfig(str(tiny("qwen_omni")), torch_dtype="float32", image_size=56)


@pytest.mark.parametrize(
    ("given", "thing"), [wrong[1:] for wrong in INPUTS], ids=[wrong[0] for wrong in INPUTS]
)
def test_a_wrong_input_is_told_before_any_weight_is_read(
    config: BackboneConfig, given: dict[str, Any], thing: str
) -> None:
    backbone = VideoBackbone(config)
    said = held(lambda: backbone.encode(**given), thing)
    assert "(got " in said
    assert "; " in said.rpartition("(got ")[2], f"no mend: {said}"
    assert backbone.family is None


@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
def test_a_wrong_batch_is_told_before_any_weight_is_read(config: BackboneConfig, rows: Any) -> None:
    backbone = VideoBackbone(config)
    held(lambda: backbone.encode_batch(rows), "rows|images or video_frames")
    assert backbone.family is None


@pytest.mark.parametrize(
    ("given", "thing"), [wrong[1:] for wrong in SETTINGS], ids=[wrong[0] for wrong in SETTINGS]
)
def test_a_wrong_setting_is_told_before_any_weight_is_read(
    config: BackboneConfig, given: dict[str, Any], thing: str
) -> None:
    backbone = VideoBackbone(dataclasses.replace(config, **given))
    for call in (lambda: backbone.encode(images=[BLACK]), backbone.load):
        held(call, thing)
    assert backbone.family is None


@pytest.mark.parametrize("config", [None, "Qwen/Qwen2.5-Omni-3B", {"model_id": "x"}, 3])
def test_what_is_no_config_is_told(config: Any) -> None:
    assert "BackboneConfig(model_id=...)" in held(partial(VideoBackbone, config), "config")


def test_every_way_to_give_a_picture_is_the_same_to_the_bit(config: BackboneConfig) -> None:
    backbone = VideoBackbone(config)
    picture = np.random.default_rng(0).integers(0, 256, BLACK.shape, dtype=np.uint8)
    ways = [[picture], picture[None], torch.from_numpy(picture)[None], (f for f in [picture])]
    ways += [[Image.fromarray(picture)], [torch.from_numpy(picture)], (picture,), [picture.data]]
    seen = [backbone.encode(images=way)["hidden_states"] for way in ways]
    assert seen[0].isfinite().all()
    assert all(torch.equal(seen[0], other) for other in seen[1:])
    clip = [picture, picture[::-1], picture[:, ::-1]]
    ways = [clip, tuple(clip), np.stack(clip), torch.from_numpy(np.stack(clip)), iter(clip)]
    seen = [backbone.encode(video_frames=way)["hidden_states"] for way in ways]
    assert all(torch.equal(seen[0], other) for other in seen[1:])


def test_what_is_right_at_the_edge_passes(config: BackboneConfig) -> None:
    backbone = VideoBackbone(config)
    edge = [np.zeros((1, 56, 3), np.uint8)] * 2
    for more in (
        {"text": ""},
        {"text": None, "time_s": (0, 86_400)},
        {"time_s": np.array([1.7e9, 1.7e9 + 0.04]), "text": "größer 抓住"},
        {"time_s": torch.tensor([0.0, 0.0]), "audio": TONE[:1600]},
        {"audio": np.stack([TONE, -TONE]), "sampling_rate": 16_000.0},
        {"audio": [0.5] * 1600, "sampling_rate": np.int64(16_000)},
        {"audio": TONE.astype(np.float16)},
    ):
        assert backbone.encode(video_frames=edge, **more)["pooled"].isfinite().all()
