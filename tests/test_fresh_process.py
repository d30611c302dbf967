"""Recipes and printed commands do what they say in a process where nothing else was imported."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from neon_sim.policies.backbones.foundation import lora
from neon_sim.policies.backbones.foundation.family import family_classes
from neon_sim.policies.backbones.random_weights import main, uses
from neon_sim.policies.backbones.weights.catalogue import CATALOGUE
from neon_sim.registry import FAMILIES

ROOT = Path(__file__).resolve().parent.parent
LIGHT = ["clip.num_frames=2", "backbone.block_rows=1"]


def fresh(code: str, folder: Path) -> str:
    """What a new Python prints, run in ``folder``."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=dict(os.environ, OMP_NUM_THREADS="1"),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def blocks(text: str) -> list[str]:
    return [textwrap.dedent(block) for block in re.findall(r"```python\n(.*?)```", text, re.S)]


@pytest.mark.slow
@pytest.mark.usefixtures("hub_extra")
def test_the_lora_recipe_runs_as_it_is_written(tiny: Callable[[str], Path], tmp_path: Path) -> None:
    """What the docstring of ``lora`` shows, with a model and data to stand for the user's."""
    recipe = textwrap.dedent((lora.__doc__ or "").partition("::\n")[2])
    before = f"""
        import numpy as np
        model_id = {str(tiny("qwen_vl"))!r}
        frame = np.zeros((28, 28, 3), dtype=np.uint8)
        data = [[[frame, frame], [frame]]] * 2
        def loss(rows):
            seen = backbone.encode_batch([BackboneInput(video_frames=rows)])[0]
            return (seen["pooled"] - 1.0).square().mean()
    """
    recipe = recipe.replace("freeze_backbone=False", "freeze_backbone=False, image_size=56")
    after = """
        from neon_sim.policies import BackboneInput
        assert VideoBackbone(BackboneConfig("tuned", image_size=56)).encode(images=[frame])
        print("encoded")
    """
    first = "from neon_sim.policies import BackboneInput\n"
    code = first + textwrap.dedent(before) + recipe + textwrap.dedent(after)
    assert fresh(code, tmp_path).splitlines()[-1] == "encoded"
    assert (tmp_path / "tuned" / "config.json").is_file()


@pytest.mark.slow
def test_the_python_of_the_documents_runs(tmp_path: Path) -> None:
    """Blocks of one document, one after the other; those of other packages have tests of theirs."""
    collected = "from neon_sim.collect import main\n"
    collected += "assert main(['task=arm_catch', 'episodes=1', 'out=data/two']) == 0\n"
    told = [collected]
    for name in ("README.md", "docs/GUIDE.md", "docs/DATASETS.md"):
        found = blocks((ROOT / name).read_text())
        assert found
        told += [b for b in found if not re.search("stable_baselines3|lerobot", b)]
    assert len(told) >= 4
    fresh("\n".join(told), tmp_path)


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from neon_sim.demonstrations import collection as collect

    out = tmp_path_factory.mktemp("of mine") / "data"
    assert collect.main(["task=arm_reach", "episodes=1", f"out={out}"]) == 0
    return out


def filled(line: str, folder: Path, demonstrations: Path, light: list[str]) -> list[str]:
    """The words of a printed command, with the user's places in it and few steps."""
    places = {"DATA": str(demonstrations), "HEADS": str(folder / "my heads"), "TASK": "arm_reach"}
    places["RUN"] = str(folder / "my run")
    words = []
    for word in shlex.split(line):
        key, equals, value = word.partition("=")
        words.append(
            f"{key}={places[value]}" if equals and value in places else places.get(word, word)
        )
    return [*words, *light]


@pytest.mark.slow
@pytest.mark.parametrize("family", list(FAMILIES))
def test_what_random_weights_prints_runs_as_printed(
    family: str, demonstrations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every model of the catalogue, a process for each family."""
    steps = ["steps=1", "batch_size=2", "window_stride=1000", "val_fraction=0", "device=cpu"]
    steps += [key if key.startswith("backbone.") else f"policy.{key}" for key in LIGHT]
    quick = ["--episodes", "1", "--workers", "1", "--videos", "0", "--quiet", "replan_steps=16"]
    code = ["from neon_sim import train", "from neon_sim.benchmarks import cli"]
    runs = []
    for name in (row.name for row in CATALOGUE.values() if row.family == family):
        place = tmp_path / f"{name} of $HOME"
        assert main([name, str(place / "my weights")]) == 0
        said, *printed = capsys.readouterr().out.splitlines()
        assert "what they score says nothing" in said
        training = filled(printed[0], place, demonstrations, steps)
        running = filled(printed[1], place, demonstrations, [*quick, *LIGHT])
        assert training[:3] == ["python", "-m", "neon_sim.train"]
        assert running[0] == "neon-bench"
        code.append(f"assert train.main({training[3:]!r}) == 0")
        code.append(f"assert cli.main({running[1:]!r}) == 0")
        runs.append(place / "my run")
    fresh("\n".join(code), tmp_path)
    assert runs
    assert all('"error": null' in (run / "episodes.jsonl").read_text() for run in runs)


def test_every_family_of_one_size_can_be_made_for_a_default_clip() -> None:
    for kind in family_classes():
        assert bool(kind.SIZE_KEYS) == (not kind.LAYOUT.multiple), kind


def test_a_published_size_is_left_to_the_policy(tmp_path: Path) -> None:
    for row in CATALOGUE.values():
        for words in uses(row, tmp_path, published=True):
            assert not any("image_size" in word for word in words)
