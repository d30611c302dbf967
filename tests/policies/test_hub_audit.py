"""Foundation backbones: what is tuned is kept, what cannot be is refused before any weight."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from neon_sim import registry
from neon_sim.config.loading import load_config
from neon_sim.config.policy import PolicyConfig
from neon_sim.errors import CheckpointError, ConfigError, MissingPackageError
from neon_sim.observation.batch import ClipBatch
from neon_sim.policies import BackboneConfig, BackboneInput, VideoBackbone
from neon_sim.policies.backbones.base import fingerprint, known_shape
from neon_sim.policies.backbones.foundation.family import family_class
from neon_sim.policies.backbones.foundation.fvlm import FVLM
from neon_sim.policies.backbones.foundation.lora import accumulated_step, trained_parameters
from neon_sim.policies.backbones.foundation.tribev2 import by_place
from neon_sim.policies.backbones.weights import find as weights
from neon_sim.policies.backbones.weights.catalogue import CATALOGUE
from neon_sim.registry import BACKBONES

Tiny = Callable[[str], Path]
TUNED = {"qwen_vl": "qwen_vl_3b", "qwen_omni": "qwen_omni_3b", "qwen3_vl": "cosmos_reason2_2b"}


def settings(folder: Path, family: str, **more: Any) -> BackboneConfig:
    values = {"torch_dtype": "float32", "image_size": family_class(family).TINY_IMAGE_SIZE, **more}
    return BackboneConfig(str(folder), **values)


def frames(count: int = 4, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (40, 40, 3), dtype=np.uint8) for _ in range(count)]


def tone(seed: int = 0, seconds: float = 0.5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(int(seconds * 16000)) * 0.1).astype(np.float32)


def pooled(backbone: VideoBackbone, **more: Any) -> torch.Tensor:
    with torch.no_grad():
        return backbone.encode(video_frames=frames(), text="catch it", **more)["pooled"]


# ---- tuned, kept, benched -----------------------------------------------------------------------


def tune(backbone: VideoBackbone) -> list[float]:
    """Two steps of LoRA over two small batches each."""
    backbone.load()
    assert backbone.family is not None
    assert backbone.family.network is not None
    parameters = trained_parameters(backbone.family.network)
    optimiser = torch.optim.AdamW(parameters, lr=0.03)

    def loss(seed: int) -> torch.Tensor:
        row = BackboneInput(video_frames=frames(2, seed), text="catch it")
        return (backbone.encode_batch([row])[0]["pooled"] - 1.0).square().mean()

    return [accumulated_step(loss, [0, 1], optimiser, parameters) for _ in range(3)]


@pytest.mark.usefixtures("hub_extra")
@pytest.mark.parametrize("packed", [False, True], ids=["float32", "nf4"])
@pytest.mark.parametrize("family", TUNED)
def test_what_was_tuned_is_saved_and_reaches_the_bench(
    tiny: Tiny, tmp_path: Path, family: str, packed: bool
) -> None:
    lora = {"freeze_backbone": False, "lora_r": 4, "lora_alpha": 8, "load_in_4bit": packed}
    backbone = VideoBackbone(settings(tiny(family), family, **lora))
    losses = tune(backbone)
    assert losses[-1] < losses[0]
    network = backbone.family.network
    trained = [name for name, value in network.named_parameters() if value.requires_grad]
    assert trained
    assert all("lora_" in name and "language_model.layers" in name for name in trained)
    kinds = {name: type(value).__name__ for name, value in network.named_parameters()}
    assert any(kind == "Params4bit" for kind in kinds.values()) == packed
    assert all("language_model" in n for n, kind in kinds.items() if kind == "Params4bit")

    tuned = pooled(backbone)
    folder = backbone.save(tmp_path / "tuned")
    # NF4 computes in bf16, and on a CPU in an order of its own after each change of layout
    near = 0.05 if packed else 1e-4
    assert (pooled(backbone) - tuned).abs().max() < near, "saving changes nothing"
    with safe_open(str(folder / "model.safetensors"), "pt") as file:
        names = set(file.keys())
    assert not [name for name in names if "lora" in name or "quant" in name]
    again = pooled(VideoBackbone(settings(folder, family)))
    untuned = pooled(VideoBackbone(settings(tiny(family), family)))
    assert (again - untuned).abs().max() > 0.05
    assert (again - tuned).abs().max() < near
    if family == "qwen_omni" and not packed:
        arguments = {"image_size": "56", "torch_dtype": "float32"}
        found = [
            BACKBONES.resolve("qwen_omni_3b")(model_id=str(home), **arguments)
            for home in (folder, tiny(family))
        ]
        benched = [each.encode(batch()).hidden for each in found]
        assert (benched[0] - benched[1]).abs().max() > 0.01
        assert fingerprint(found[0]) != fingerprint(found[1])


def batch(rows: int = 1, count: int = 4) -> ClipBatch:
    rng = np.random.default_rng(0)
    return ClipBatch(
        video=rng.integers(0, 256, (rows, count, 40, 40, 3), dtype=np.uint8),
        mask=np.ones((rows, count), dtype=bool),
        time_s=np.tile(-0.08 * np.arange(count)[::-1], (rows, 1)).astype(np.float32),
        state=None,
        agent_pos=np.zeros((rows, 8), dtype=np.float32),
        text=["catch it"] * rows,
    )


def test_saving_overwrites_nothing_and_keeps_only_what_is_tuned(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="new or empty folder"):
        VideoBackbone(settings(tiny("qwen_vl"), "qwen_vl")).save(tmp_path)
    with pytest.raises(ConfigError, match="never tuned"):
        VideoBackbone(settings(tiny("vjepa2"), "vjepa2")).save(tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


# ---- refused when the config is read ------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "override", "rule", "mend"),
    [
        ("qwen_vl_3b", "clip.image_size=320", "at most 224.*got 320", "raise backbone.image_size"),
        ("qwen_vl_3b", "backbone.image_size=230", "multiple of 28.*got 230", "take 224"),
        ("vjepa2", "backbone.image_size=224", "must be 256.*got 224", "leave it out"),
        ("qwen_vl_3b", "backbone.freeze_backbone=false", "must be true on the bench", "save"),
        ("tribev2", "backbone.freeze_backbone=false", "must be true for TRIBEv2", "leave it out"),
        ("qwen_vl_3b", "backbone.attn_implementation=magic", "one of eager, sdpa", ""),
        ("fvlm_135m", "backbone.load_in_4bit=true", "got load_in_4bit=true", "leave it out"),
        ("vjepa2", "backbone.load_in_4bit=true", "has none", "leave it out"),
        ("fvlm_135m", "backbone.mode=blurred", "coarse_only, coarse_fine.*got 'blurred'", ""),
        ("qwen_vl_3b", "backbone.device_map=gpu", "one device .got 'gpu'", "use auto"),
        ("qwen_vl_3b", "backbone.device_map=balanced", "one device .got 'balanced'", "use auto"),
        ("qwen_vl_3b", "backbone.device_map=mps", "one device .got 'mps'", "use auto"),
        ("qwen_vl_3b", "backbone.torch_dtype=int8", "torch_dtype must be one of", ""),
        ("qwen_vl_3b", "backbone.fps=2", "must be left out on the bench .got '2'", "set clip.fps"),
        ("qwen_vl_3b", "backbone.mode=xxx", "mode.*QwenVL does not.*got 'xxx'", "leave it out"),
        ("tribev2", "backbone.mode=coarse_only", "mode.*TribeV2 does not", "leave it out"),
        ("vjepa2", "backbone.fusion=untrained", "fusion.*VJEPA2 does not", "leave it out"),
        ("fvlm_135m", "backbone.fusion=/a.safetensors", "fusion.*FVLM does not", "leave it out"),
        ("qwen_vl_3b", "backbone.lora_r=8", "freeze_backbone=true.*got 8", "leave it out"),
        ("tribev2", "backbone.lora_alpha=8", "freeze_backbone=true.*got 8", "leave it out"),
        ("qwen_vl_3b", "backbone.lora_alpha=0", "lora_alpha must be 1 to", ""),
    ],
)
def test_settings_are_held_when_the_config_is_read(
    policy: str, override: str, rule: str, mend: str
) -> None:
    """The weights are not here: an error about them would mean it came too late."""
    with pytest.raises(ConfigError, match=rule) as caught:
        load_config(PolicyConfig, "policy", policy, [override])
    assert mend in str(caught.value)


def test_a_clip_longer_than_the_positions_is_refused_too() -> None:
    keys = ["backbone.max_frames=32", "clip.num_frames=32"]
    with pytest.raises(ConfigError, match=r"at most 16 frames for videomae .got 32"):
        load_config(PolicyConfig, "policy", "videomae", keys)


@pytest.mark.parametrize(
    ("name", "package", "mend"),
    [
        ("flash_attention_2", "flash_attn", "pip install flash-attn"),
        ("flash_attention_3", "flash_attn_interface", "hopper/"),
    ],
)
def test_attention_names_the_package_it_needs(name: str, package: str, mend: str) -> None:
    with pytest.raises(MissingPackageError, match=f"'{package}'") as caught:
        load_config(PolicyConfig, "policy", "qwen_vl_3b", [f"backbone.attn_implementation={name}"])
    assert mend in str(caught.value)
    assert "attn_implementation=sdpa" in str(caught.value)
    with pytest.raises(ConfigError, match="sdpa or eager for fVLM"):
        FVLM.check_settings(BackboneConfig("x", attn_implementation=name))


def test_the_front_door_holds_them_before_it_asks_for_weights() -> None:
    with pytest.raises(ConfigError, match="mode must be one of"):
        VideoBackbone(BackboneConfig("sanps/fVLM-135M", mode="blurred")).load()
    with pytest.raises(ConfigError, match="has none"):
        VideoBackbone(BackboneConfig("facebook/vjepa2-vitl-fpc64-256", load_in_4bit=True)).load()


@pytest.mark.parametrize("family", registry.FAMILIES)
def test_a_setting_of_another_family_is_refused_at_the_front_door_too(
    tiny: Tiny, family: str
) -> None:
    """Also where the family is only known from the folder; every setting has a family."""
    others = {"mode": "coarse_only", "fusion": "untrained"}
    for name in set(others) - set(family_class(family).OPTIONS):
        asked = settings(tiny(family), family, **{name: others[name]})
        with pytest.raises(ConfigError, match=f"{name} is a setting that .* does not have"):
            VideoBackbone(asked).load()
    with pytest.raises(ConfigError, match=r"lora_r is of adapters.*got 8"):
        VideoBackbone(settings(tiny(family), family, lora_r=8)).load()


def test_a_map_of_devices_is_refused(tiny: Tiny) -> None:
    one = settings(tiny("qwen_vl"), "qwen_vl", device_map={"": "cpu"})
    with pytest.raises(ConfigError, match="one device"):
        VideoBackbone(one).load()
    with pytest.raises(ConfigError, match="one device"):
        BACKBONES.resolve("qwen_vl_3b")(model_id=str(tiny("qwen_vl")), device_map={"": "cpu"})


def test_frames_are_held_to_the_size_of_a_folder_too(tiny: Tiny) -> None:
    keys = [f"backbone.model_id={tiny('qwen_vl')}", "backbone.image_size=56"]
    with pytest.raises(ConfigError, match=r"at most 56.*got 64"):
        load_config(PolicyConfig, "policy", "qwen_vl_3b", [*keys, "clip.image_size=64"])
    load_config(PolicyConfig, "policy", "qwen_vl_3b", [*keys, "clip.image_size=56"])
    assert known_shape(BACKBONES.resolve("qwen_vl_3b"), 4, {}) == (2, 64)


@pytest.mark.parametrize("name", ["qwen_vl_3b", "qwen_vl_7b"])
def test_shipped_clips_give_each_place_a_time_of_its_own(name: str) -> None:
    """Its positions are whole half seconds; in every moment of an episode, padded or not."""
    from neon_sim.clock import TICKS_PER_CONTROL
    from neon_sim.observation.clips import plan_clip
    from neon_sim.policies.backbones.foundation.inputs import frame_interval_s

    clip = load_config(PolicyConfig, "policy", name, []).clip
    for step in range(0, 200, 7):
        plan = plan_clip(clip, step * TICKS_PER_CONTROL)
        times = plan.time_s[plan.mask].astype(np.float64)
        places = -(-len(times) // 2)
        interval = np.float32(2 * 2 * frame_interval_s(times, clip.fps))
        assert len(set((np.arange(places) * interval).astype(int))) == places, step


# ---- where weights come from --------------------------------------------------------------------


def test_the_gate_and_the_size_are_those_of_the_repository() -> None:
    said = weights.missing_text("facebook/w2v-bert-2.0")
    assert "not gated (but meta-llama/Llama-3.2-3B, which it also needs, is)" in said
    assert "1.2 GB of them from this repository" in said
    said = weights.missing_text("meta-llama/Llama-3.2-3B")
    assert "gated: accept the licence at huggingface.co/meta-llama/Llama-3.2-3B and" in said
    assert "6.4 GB of them" in said
    said = weights.missing_text("nvidia/Cosmos-Reason2-2B")
    assert "gated: accept the licence at huggingface.co/nvidia/Cosmos-Reason2-2B and" in said
    assert "are loaded of cosmos_reason2_2b (the download may be larger)" in said
    assert "not gated." in weights.missing_text("Qwen/Qwen2.5-VL-3B-Instruct")


def test_the_hubs_cause_ends_with_a_word() -> None:
    cause = " ".join(f"word-{number}" for number in range(60))
    said = weights.missing_text("someone/else", OSError(cause))
    inside = said.partition("(")[2].partition(")")[0]
    assert inside.endswith(" ...")
    assert set(inside.split()[:-1]) <= set(cause.split())
    assert "Download: hf download someone/else, or use a folder of your own:" in said


@pytest.mark.parametrize("path", ["/nowhere", "~/nowhere", "nowhere", "some/where/else"])
def test_a_path_that_is_no_folder_is_not_taken_for_a_repository(path: str) -> None:
    models = (CATALOGUE["qwen_vl_3b"],)
    said = weights.absent_text("qwen_vl_3b", models, {"model_id": path})
    assert said.startswith(f"backbone.model_id={path}: no such folder. ")
    assert f"hf download {path}" not in said
    assert "hf download Qwen/Qwen2.5-VL-3B-Instruct" in said
    said = weights.absent_text("qwen_vl_3b", models, {"model_id": "someone/else"})
    assert "no such folder" not in said
    assert "hf download someone/else" in said


@pytest.mark.parametrize("revision", [None, "v1.2"])
def test_the_revision_reaches_the_download(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, revision: str | None
) -> None:
    asked: list[tuple[str, Any]] = []

    def download(repository: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        assert "*.safetensors" in allow_patterns
        asked.append((repository, revision))
        return str(tiny("qwen_vl"))

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    name = CATALOGUE["qwen_vl_3b"].model_id
    VideoBackbone(BackboneConfig(name, image_size=56, revision=revision)).load()
    asked_by_door = len(asked)
    more = {} if revision is None else {"revision": revision}
    BACKBONES.resolve("qwen_vl_3b")(image_size="56", **more)
    assert asked_by_door
    assert len(asked) > asked_by_door
    assert set(asked) == {(name, revision)}


def half_a_download(folder: Path, indexed: bool) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "qwen2_5_vl"}')
    (folder / "model-00001-of-00002.safetensors").touch()
    if indexed:
        shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    return folder


@pytest.mark.parametrize("indexed", [False, True])
def test_half_a_download_is_no_checkpoint(
    tmp_path: Path, indexed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, row = half_a_download(tmp_path / "half", indexed), CATALOGUE["qwen_vl_3b"]
    with pytest.raises(CheckpointError, match=r"lacks model-00002-of-00002.*repeat it"):
        weights.find_weights(str(folder))
    monkeypatch.setattr(
        "huggingface_hub.try_to_load_from_cache", lambda *_: str(folder / "config.json")
    )
    assert not weights.is_here(row)
    (folder / "model-00002-of-00002.safetensors").touch()
    assert weights.is_here(row)
    assert weights.find_weights(str(folder)) == folder


# ---- TRIBEv2 and fVLM ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tribe(tiny: Tiny) -> VideoBackbone:
    return VideoBackbone(settings(tiny("tribev2"), "tribev2"))


def test_sound_is_cut_by_the_times_of_places() -> None:
    tokens = torch.arange(10.0)[:, None]  # a second: one of them begins every 0.1 s
    means, there = by_place(tokens, 1.0, np.array([-0.6, -0.4, -0.2, 0.0]))
    assert means[:, 0].tolist() == [1.5, 4.5, 6.5, 8.5]  # the first has what is older too
    assert there.all()
    means, there = by_place(tokens, 1.0, np.array([-3.0, -2.0, -0.5, 0.0]))
    assert there.tolist() == [False, False, True, True]
    assert means[:, 0].tolist() == [0.0, 0.0, 2.0, 7.0]
    means, _ = by_place(tokens, 1.0, np.array([0.0]))
    assert means.item() == 4.5


def test_the_same_sound_beside_a_longer_clip_falls_into_other_places(tribe: VideoBackbone) -> None:
    sounds = {"audio": tone(seconds=1.0)}
    brief, long = (
        pooled(tribe, **sounds, time_s=[0.0, span / 3, 2 * span / 3, span]) for span in (0.3, 3.0)
    )
    assert (brief - long).abs().max() > 1e-4


def test_a_place_before_the_sound_is_one_without_sound(tribe: VideoBackbone) -> None:
    """What stands there for the sound is the mask token, whatever the sound's features are."""
    tribe.load()
    fusion = tribe.family.fusion  # type: ignore[union-attr]
    sound = torch.randn(1, 2, 64)
    seen = {"video": torch.randn(1, 2, 64), "audio": sound, "text": None}
    heard = torch.tensor([[False, True]])
    part = fusion._part("audio", sound, 1, 2, heard)
    assert torch.equal(part[0, 0], fusion.absent["audio"])
    assert torch.equal(part[0, 1], fusion.project["audio"](sound)[0, 1])
    changed = dict(seen, audio=sound + torch.tensor([5.0, 0.0])[None, :, None])
    assert torch.equal(fusion(seen, 2, heard), fusion(changed, 2, heard))


def test_a_mixed_batch_of_tribev2_is_what_its_rows_are_alone(tribe: VideoBackbone) -> None:
    rows = [
        BackboneInput(video_frames=frames(2 + 2 * (i % 2), i), text=text, audio=audio)
        for i, (text, audio) in enumerate(
            [
                ("catch the ball", tone(0)),
                ("stop", None),
                ("", tone(1)),
                ("catch the ball", tone(2, 0.7)),
                ("", None),
                ("stop", tone(3)),
            ]
        )
    ]
    for row, result in zip(rows, tribe.encode_batch(rows), strict=True):
        alone = tribe.encode_batch([replace(row)])[0]
        assert torch.allclose(alone["hidden_states"], result["hidden_states"], atol=2e-5)


def test_fvlm_names_the_file_it_reads(tiny: Tiny, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny("fvlm"), tmp_path / "copy")
    (copy / "model.safetensors").rename(copy / "weights.safetensors")
    with pytest.raises(CheckpointError, match=r"not there .found weights\.safetensors"):
        VideoBackbone(settings(copy, "fvlm")).load()


def test_fvlm_takes_the_attention_it_is_asked_for(tiny: Tiny) -> None:
    found = {}
    for name in ("sdpa", "eager"):
        backbone = VideoBackbone(settings(tiny("fvlm"), "fvlm", attn_implementation=name))
        found[name] = pooled(backbone)
        network = backbone.family.network
        parts = (network.vision, network.language_model)
        assert {part.config._attn_implementation for part in parts} == {name}
    assert torch.allclose(found["sdpa"], found["eager"], atol=1e-5)
