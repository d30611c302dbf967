"""The chunk executor, step by step, with chunks whose values say what they are."""

from __future__ import annotations

import numpy as np
import pytest

from neon_sim.benchmarks.executor import ChunkExecutor
from neon_sim.errors import ConfigError, UnknownNameError


def recorded(number: int) -> np.ndarray:
    """Chunk ``number`` (16, 2): its number, and which of its actions."""
    return np.stack([np.full(16, float(number)), np.arange(16.0)], axis=1)


def play(executor: ChunkExecutor, num_steps: int, looks: int = 99) -> list[tuple[float, float]]:
    """Play recorded chunks, one every ``replan_steps``, and list (chunk, index) by step."""
    executor.reset(np.array([-1.0, -1.0]))
    done = []
    for step in range(num_steps):
        if step % executor.replan_steps == 0 and step // executor.replan_steps < looks:
            executor.push(recorded(step // executor.replan_steps))
        action, _ = executor.next()
        done.append((float(action[0]), float(action[1])))
    return done


def test_without_latency_each_chunk_plays_its_first_actions() -> None:
    assert play(ChunkExecutor(4), 9) == [
        *[(0, 0), (0, 1), (0, 2), (0, 3)],
        *[(1, 0), (1, 1), (1, 2), (1, 3)],
        (2, 0),
    ]


def test_latency_keeps_the_old_chunk_until_the_new_one_is_there() -> None:
    done = play(ChunkExecutor(4, latency_steps=2), 10)
    assert done[:2] == [(-1, -1), (-1, -1)]  # nothing has been computed yet: hold the start
    assert done[2:6] == [(0, 2), (0, 3), (0, 4), (0, 5)]  # actions meant for steps 2 to 5
    assert done[6:] == [(1, 2), (1, 3), (1, 4), (1, 5)]


def test_latency_longer_than_the_replan_interval_keeps_several_chunks_under_way() -> None:
    done = play(ChunkExecutor(2, latency_steps=5), 9)
    assert done[:5] == [(-1, -1)] * 5
    assert done[5:] == [(0, 5), (0, 6), (1, 5), (1, 6)]


def test_an_exhausted_chunk_leaves_the_arm_at_its_last_target() -> None:
    done = play(ChunkExecutor(16), 40, looks=1)
    assert done[:16] == [(0.0, float(i)) for i in range(16)]
    assert set(done[16:]) == {(0.0, 15.0)}


def test_linear_blending_moves_in_equal_parts() -> None:
    executor = ChunkExecutor(4, blending="linear")
    numbers = [number for number, _ in play(executor, 9)]
    assert numbers[:4] == [0, 0, 0, 0]  # nothing to blend the first chunk with
    assert numbers[4:8] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert numbers[8] == pytest.approx(1.2)


def test_linear_blending_never_blends_with_an_exhausted_chunk() -> None:
    executor = ChunkExecutor(16, blending="linear")
    numbers = [number for number, _ in play(executor, 20)]
    assert numbers == [0] * 16 + [1] * 4


def test_boundaries_are_where_a_later_chunk_takes_over() -> None:
    executor = ChunkExecutor(3, latency_steps=1)
    executor.reset(np.zeros(2))
    boundaries = []
    for step in range(10):
        if step % 3 == 0:
            executor.push(recorded(step))
        boundaries.append(executor.next()[1])
    assert [step for step, is_one in enumerate(boundaries) if is_one] == [4, 7]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((0,), ConfigError),
        ((17,), ConfigError),
        ((4, -1), ConfigError),
        ((4, 0, "cubic"), UnknownNameError),
    ],
)
def test_bad_settings_are_errors(arguments, error) -> None:
    with pytest.raises(error):
        ChunkExecutor(*arguments)
