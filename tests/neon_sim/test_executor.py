"""The chunk executor, step by step, with chunks whose values say what they are."""

from __future__ import annotations

import numpy as np
import pytest

from neon_sim.chunks import ChunkExecutor
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


def test_linear_blending_ends_where_the_old_chunk_does() -> None:
    """Each chunk has 4 of its 16 actions left when the next takes over after 12."""
    executor = ChunkExecutor(12, blending="linear")
    done = play(executor, 42)
    numbers = [number for number, _ in done]
    for takeover in (12, 24, 36):
        old, new = takeover // 12 - 1, takeover // 12
        blended = numbers[takeover : takeover + 4]
        assert blended == pytest.approx([old + share for share in (0.2, 0.4, 0.6, 0.8)])
        assert set(numbers[takeover + 4 : takeover + 12]) == {new}
    # of the old chunk actions 12 to 15, of the new one 0 to 3
    assert [index for _, index in done[24:28]] == pytest.approx(
        [0.8 * 12, 0.6 * 13 + 0.4, 0.4 * 14 + 0.6 * 2, 0.2 * 15 + 0.8 * 3]
    )


def test_a_chunk_that_came_too_late_to_blend_is_played_as_it_is() -> None:
    executor = ChunkExecutor(2, latency_steps=3, blending="linear")
    executor.reset(np.zeros(2))
    executor.push(recorded(0)[:4])
    numbers = []
    for step in range(12):
        if step == 5:
            executor.push(recorded(1))  # takes over at 8, four steps after the first ran out
        numbers.append(float(executor.next()[0][0]))
    assert numbers == [0] * 8 + [1] * 4


def test_steps_are_counted_from_the_reset() -> None:
    executor = ChunkExecutor(1)
    for _ in range(2):
        play(executor, 5)
        assert executor.step == 5
        executor.reset(np.zeros(2))
        assert executor.step == 0
    assert executor.next()[1] is False


def test_a_reset_forgets_what_was_under_way() -> None:
    executor = ChunkExecutor(4, latency_steps=2, blending="linear")
    first = play(executor, 11)  # chunk 2 is under way
    assert play(executor, 11) == first
    assert first[:2] == [(-1, -1), (-1, -1)]


def test_of_two_chunks_for_one_step_the_later_counts() -> None:
    executor = ChunkExecutor(4)
    executor.reset(np.zeros(2))
    for number in (0, 1):
        executor.push(recorded(number))
    action, boundary = executor.next()
    assert action[0] == 1
    assert boundary
    assert not executor.next()[1]


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


def test_the_ends_of_the_ranges_are_allowed() -> None:
    for replan in (1, 16):
        assert ChunkExecutor(replan).replan_steps == replan
    plain = ChunkExecutor(4)
    assert (plain.latency_steps, plain.blending) == (0, "none")
    # at one look a step every action is the first of its chunk
    assert play(ChunkExecutor(1), 3) == [(0, 0), (1, 0), (2, 0)]
