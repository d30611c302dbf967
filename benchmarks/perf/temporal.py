"""What a temporal mechanism costs: parameters, GFLOP, and milliseconds of a whole network.

Every registered mechanism under ``stack`` of the embedded image twin: eight frames of 36
tokens of 64. Milliseconds are those of the trained half (mechanism, fusion and head), for a
training step and for an inference of eight rows, measured in turns.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from neon_sim.config.loading import load_config
from neon_sim.config.policy import PolicyConfig
from neon_sim.registry import POLICY_PARTS, TEMPORAL
from neon_sim.vocabulary import WORDS

from .rows import Options, Row, row_of, wall_s

BATCH = 8
POLICY = "mech_{}"


def measure(options: Options) -> list[Row]:
    """Rows of every mechanism."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tower = POLICY_PARTS.resolve("make_tower")(_config("none"), "stack")
        networks = {name: _network(name, tower) for name in TEMPORAL}
        batch = _batch(tower)
        rows = [row for name in networks for row in _counts(name, networks[name], batch)]
        times: dict[tuple[str, str], list[float]] = {}
        for turn in range(options.repeats + 1):
            for name, network in networks.items():
                for what, work in (("train", _train_step), ("infer", _infer)):
                    seconds = wall_s(work, network, batch)
                    if turn:  # the first is a warm-up
                        times.setdefault((name, what), []).append(1000 * seconds)
    said = {"train": "training step, 8 rows", "infer": "inference, 8 rows"}
    return rows + [row_of(said[what], name, values, "ms") for (name, what), values in times.items()]


def _config(name: str) -> PolicyConfig:
    return load_config(PolicyConfig, "policy", POLICY.format(name), [])


def _network(name: str, tower: Any) -> Any:
    return POLICY_PARTS.resolve("new_network")(_config(name), tower, WORDS, 0)


def _batch(tower: Any) -> Any:
    """Eight rows of noise in the shape of features."""
    shape = (BATCH, tower.num_frames, tower.tokens_per_frame)
    return POLICY_PARTS.resolve("network_input")(
        torch.randn(*shape, tower.feature_dim),
        torch.ones(shape, dtype=torch.bool),
        -0.08 * torch.arange(shape[1]).flip(0).float().expand(BATCH, -1),
        torch.zeros(BATCH, 8),
        torch.ones(BATCH, 16, dtype=torch.int64),
    )


def _counts(name: str, network: Any, batch: Any) -> list[Row]:
    """Parameters and arithmetic of the mechanism alone, and parameters of its network."""
    own = sum(p.numel() for p in network.temporal.parameters())
    tokens = batch.tokens
    counter = FlopCounterMode(display=False)
    with counter:
        network.temporal(tokens.hidden, tokens.mask, tokens.time_s)
    return [
        row_of("parameters, mechanism", name, [own], ""),
        row_of("parameters, network", name, [network.num_parameters()], ""),
        row_of("mechanism, one row", name, [counter.get_total_flops() / BATCH / 1e9], "GFLOP"),
    ]


def _train_step(network: Any, batch: Any) -> None:
    """Forward, backward; gradients are dropped."""
    network.train()
    network.loss(batch, torch.zeros(BATCH, 16, 8), torch.ones(BATCH, 16)).backward()
    network.zero_grad(set_to_none=True)


def _infer(network: Any, batch: Any) -> None:
    network.eval()
    with torch.inference_mode():
        network.sample(batch)
