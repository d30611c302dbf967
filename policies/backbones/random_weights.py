"""Checkpoints with random weights: any family, tiny or as large as the published model.

Each is a folder like a published one (config, processor, tokenizer, safetensors) and is loaded the
same way. Tiny checkpoints let a user try everything from demonstrations to a report without the
hub, and the tests load them. Published sizes have the real cost in time and memory
(``neon_sim.benchmarks.perf.foundation``). The scores of both mean nothing::

    python -m neon_sim.policies.backbones.random_weights NAME FOLDER
"""

from __future__ import annotations

import gc
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from neon_sim.command import Parser, entry_point
from neon_sim.errors import ConfigError
from neon_sim.files import hold_folder
from neon_sim.observation.clips import ClipConfig
from neon_sim.rules import option

from .counting import size_of
from .foundation.family import family_class
from .foundation.inputs import AUDIO_HZ, Sight
from .foundation.on_the_bench import Value, backbone_config
from .foundation.video_backbone import VideoBackbone
from .weights.catalogue import CATALOGUE, Published, Shape, foundation_model, part_of
from .weights.find import DTYPES
from .weights.sources import RANDOM_MARK


@contextmanager
def _made_in(dtype: torch.dtype, device: str) -> Iterator[None]:
    """Create new tensors with one dtype on one device, from a fixed seed."""
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(dtype)
        with torch.random.fork_rng(devices=[]), torch.device(device):
            torch.manual_seed(0)
            yield
    finally:
        torch.set_default_dtype(before)


def make_tiny(family: str, folder: Path, image_size: int = 0) -> Path:
    """Write a tiny checkpoint of a family (float32, hidden size 64, two layers, about 1 MB).

    Args:
        family: name of its file. folder: new or empty. image_size: pixels a side, for a family
            whose checkpoints take one size alone, a multiple of 16; ``TINY_IMAGE_SIZE`` when 0.
    """
    kind = family_class(family)
    shape = kind.TINY
    if image_size and kind.SIZE_KEYS:
        shape = sized(shape, kind.SIZE_KEYS, image_size)
    with _made_in(torch.float32, "cpu"):
        return _make(family, folder, shape)


def sized(shape: Shape, path: tuple[str, ...], size: int) -> Shape:
    """A shape with the number at a path of keys replaced."""
    key, *rest = path
    return shape | {key: sized(part_of(shape, key), tuple(rest), size) if rest else size}


def _make(family: str, folder: Path, shape: Shape) -> Path:
    """Write a checkpoint and the mark by which reports know random weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RANDOM_MARK).write_text("drawn, not trained: what it scores says nothing\n")
    family_class(family).write_random(folder, shape)
    return folder


def make_published(
    row: Published, folder: Path, dtype: torch.dtype = torch.bfloat16, device: str = "cpu"
) -> Path:
    """Write a checkpoint of a catalogue row's published shape; gigabytes, see ``sizes``.

    Args:
        row: of the catalogue. folder: new or empty. dtype: of the weights on disk. device: where
            they are drawn.
    """
    with _made_in(dtype, device):
        return _make(row.family, folder, row.shape)


class RandomModel:
    """A foundation model of the published size with random weights, opened as users open one.

    Time and memory do not depend on what weights say, so this is what a look costs.

    Args:
        name: of the catalogue. folder: for the checkpoint, see ``make_published``.
        device: ``cuda`` (in bf16) or ``cpu`` (in float32).

    Raises:
        UnknownNameError: no such model.
    """

    def __init__(self, name: str, folder: Path, device: str) -> None:
        self.row, self.device = foundation_model(name), device
        dtype = "bfloat16" if device == "cuda" else "float32"
        self.settings: dict[str, Value] = {
            "model_id": str(make_published(self.row, folder, DTYPES[dtype], device)),
            "device_map": device,
            "torch_dtype": dtype,
        }
        self.model: VideoBackbone | None = None

    def open(self, packed: bool) -> None:
        """Free the open model and load this one, in NF4 where ``packed``."""
        self.model = None
        gc.collect()
        if self.device == "cuda":
            torch.cuda.empty_cache()
        settings = self.settings | {"load_in_4bit": packed}
        self.model = VideoBackbone(backbone_config(self.row.name, settings))
        self.model.load()

    def look(self, num_frames: int, rows: int) -> Callable[[], None]:
        """A call that encodes ``rows`` clips of noise, with words and a second of sound where the
        model reads and hears, and waits for the result."""
        model = self.model
        assert model is not None
        assert model.family is not None
        family, rng, size = model.family, np.random.default_rng(0), model.config.image_size
        sights = [
            Sight(
                frames=rng.integers(0, 256, (num_frames, size, size, 3), dtype=np.uint8),
                time_s=np.arange(num_frames) / model.config.fps,
                text="catch the moving ball" if family.reads else "",
                audio=rng.normal(0, 0.1, AUDIO_HZ).astype(np.float32) if family.hears else None,
            )
            for _ in range(rows)
        ]

        def encode() -> None:
            with torch.inference_mode():
                model.encode_sights(sights)
            if self.device == "cuda":
                torch.cuda.synchronize()

        return encode


def foundation_gb() -> dict[str, tuple[float, bool]]:
    """Of every foundation model: GB of its weights in bf16, and whether NF4 packs any."""
    sizes = {name: size_of(name) for name in CATALOGUE}
    return {name: (size.bf16_gb, size.linear > 0) for name, size in sizes.items()}


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(
        prog="python -m neon_sim.policies.backbones.random_weights",
        description="Write a checkpoint with random weights, to try a policy without the hub.",
    )
    parser.add_argument("name", type=option(str), help=f"backbone: {', '.join(CATALOGUE)}")
    parser.add_argument("folder", type=option(Path), help="new or empty folder for the checkpoint")
    parser.add_argument(
        "--published", action="store_true", help="the published size (bf16), in place of 1 MB"
    )
    return parser


@entry_point("random_weights", "delete the folder, it is not whole")
def main(arguments: list[str]) -> int:
    """Run the command; returns the exit code."""
    args = build_parser().parse_args(arguments)
    row = foundation_model(args.name)
    hold_folder("folder", args.folder)
    if args.folder.exists() and (not args.folder.is_dir() or any(args.folder.iterdir())):
        raise ConfigError(f"folder must be new or empty (got {args.folder}); name another")
    if args.published:
        make_published(row, args.folder)
    else:
        make_tiny(row.family, args.folder, ClipConfig().image_size)
    print("random weights: what they score says nothing of the model. To use them:")
    for words in uses(row, args.folder, args.published):
        print(shlex.join(words))
    return 0


def uses(row: Published, folder: Path, published: bool) -> list[list[str]]:
    """The two commands that a checkpoint is for, word by word: train a head behind it, run it.

    ``DATA``, ``HEADS``, ``TASK`` and ``RUN`` are the user's to fill in.
    """
    seen = [f"backbone.model_id={folder}", *_size(row, published)]
    train = ["python", "-m", "neon_sim.train", f"policy={row.name}", *seen]
    run = ["neon-bench", "run", "--policy", row.name, *seen, "checkpoint=HEADS"]
    return [[*train, "data=DATA", "out=HEADS"], [*run, "--task", "TASK", "--out", "RUN"]]


def _size(row: Published, published: bool) -> list[str]:
    """The setting of size that a tiny checkpoint asks for, so that a default clip fits."""
    if published:
        return []
    unit, seen = family_class(row.family).LAYOUT.multiple or 1, ClipConfig().image_size
    return [f"backbone.image_size={-(-seen // unit) * unit}"]


if __name__ == "__main__":
    raise SystemExit(main())
