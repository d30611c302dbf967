"""Clips by hand: the frames that each sampler takes, worked out on paper."""

from __future__ import annotations

import numpy as np
import pytest

from neon_sim.errors import ConfigError, UnknownNameError
from neon_sim.observation.clips import (
    FLOW_SIDE,
    SAMPLERS,
    ClipConfig,
    ClipPlan,
    clip_flow,
    clip_spacing,
    clip_span_s,
    log_ages,
    plan_clip,
    stretched,
    uniform_ages,
)


@pytest.mark.parametrize(
    ("num_frames", "fps", "ages"),
    [
        (1, 12.5, [0]),
        (4, 12.5, [120, 80, 40, 0]),  # 80 ms are 40 ticks
        (4, 25.0, [60, 40, 20, 0]),
        (4, 10.0, [160, 100, 40, 0]),  # 50 ticks are 2.5 camera frames: 7.5, 5, 2.5 rounded to even
        (3, 15.0, [60, 40, 0]),  # 33 ticks: 3.3 and 1.65 camera frames
        (3, 0.5, [2000, 1000, 0]),
    ],
)
def test_uniform_ages_by_hand(num_frames, fps, ages) -> None:
    found = uniform_ages(ClipConfig(num_frames, fps))
    assert found.tolist() == ages
    assert found.dtype == np.int64
    assert SAMPLERS["fixed"](ClipConfig(num_frames, fps)).tolist() == ages


@pytest.mark.parametrize(
    ("num_frames", "fps", "cameras"),
    [
        (1, 12.5, [0]),
        (2, 12.5, [2, 0]),
        (3, 12.5, [4, 1, 0]),
        # 14 ** (k / 6) is 1, 1.55, 2.41, 3.74, 5.81, 9.02, 14: the second 2 makes way
        (8, 12.5, [14, 9, 6, 4, 3, 2, 1, 0]),
        (6, 25.0, [5, 4, 3, 2, 1, 0]),  # no room to double
        (5, 2.5, [40, 12, 3, 1, 0]),  # 40 ** (1/3) = 3.4, 40 ** (2/3) = 11.7
        (2, 100.0, [1, 0]),  # faster than the camera: two frames all the same
    ],
)
def test_log_ages_by_hand(num_frames, fps, cameras) -> None:
    found = log_ages(ClipConfig(num_frames, fps))
    assert found.tolist() == [20 * camera for camera in cameras]
    assert found.dtype == np.int64
    assert np.array_equal(SAMPLERS["log"](ClipConfig(num_frames, fps)), found)


def test_a_clip_by_hand() -> None:
    plan = plan_clip(ClipConfig(num_frames=4, fps=12.5), 95)
    assert plan.ticks.tolist() == [0, 0, 40, 80]
    assert plan.mask.tolist() == [False, True, True, True]  # the frame of tick 0 is real
    # padding is as old as the first frame
    assert plan.time_s.tolist() == pytest.approx([-0.16, -0.16, -0.08, 0.0])
    assert plan.time_s.dtype == np.float32
    assert plan.ticks.dtype == np.int64


def test_the_first_look_is_at_the_first_frame() -> None:
    plan = plan_clip(ClipConfig(num_frames=2, fps=25.0), 0)
    assert plan.ticks.tolist() == [0, 0]
    assert plan.mask.tolist() == [False, True]


@pytest.mark.parametrize(
    ("tick", "newest"),
    [(0, 0), (69, 0), (70, 60), (139, 60), (140, 140), (205, 140), (210, 200)],
)
def test_between_looks_of_seven_steps_the_clip_is_that_of_the_last_look(tick, newest) -> None:
    """7 steps are 70 ticks; at tick 70 the newest frame of the camera is that of tick 60."""
    plan = plan_clip(ClipConfig(num_frames=1, refresh_steps=7), tick)
    assert plan.ticks.tolist() == [newest]
    assert plan.time_s.tolist() == [0.0]


def test_a_sampler_has_to_exist() -> None:
    with pytest.raises(UnknownNameError, match="unknown clip sampler 'even'"):
        plan_clip(ClipConfig(sampler="even"), 0)
    with pytest.raises(ValueError, match="-1"):
        plan_clip(ClipConfig(), -1)


def test_a_clip_without_settings_is_the_one_that_heads_were_trained_on() -> None:
    assert ClipConfig() == ClipConfig(
        num_frames=8, fps=12.5, sampler="uniform", camera="front", image_size=96, refresh_steps=1
    )
    ClipConfig().validate()


def test_a_clip_holds_its_rules() -> None:
    ClipConfig(num_frames=64).validate()
    with pytest.raises(ConfigError, match=r"^clip\.num_frames must be .* \(got 65\)"):
        ClipConfig(num_frames=65).validate()
    with pytest.raises(UnknownNameError, match="unknown clip sampler 'even'"):
        ClipConfig(sampler="even").validate()


def test_spans_and_spacings_by_hand() -> None:
    assert clip_span_s(ClipConfig(8, 12.5)) == pytest.approx(0.56)
    assert clip_span_s(ClipConfig(1, 12.5)) == 0.0
    assert clip_span_s(ClipConfig(8, 12.5, "log")) == pytest.approx(0.56)
    assert clip_spacing(ClipConfig(8, 12.5)) == 40
    assert clip_spacing(ClipConfig(8, 12.5, "log")) == 20
    assert clip_spacing(ClipConfig(3, 10.0)) == 40  # ages 100, 40 and 0
    assert clip_spacing(ClipConfig(1, 12.5)) == 0


def test_a_task_that_needs_the_past_stretches_the_clip() -> None:
    config = ClipConfig(8, 12.5)
    wide = stretched(config, 2.24)
    assert wide.fps == pytest.approx(7 / 2.24)
    assert clip_span_s(wide) == pytest.approx(2.24, abs=0.04)
    assert (wide.num_frames, wide.sampler) == (8, "uniform")
    assert stretched(ClipConfig(2, 12.5), 1.0).fps == pytest.approx(1.0)
    assert clip_span_s(stretched(ClipConfig(8, 12.5, "log"), 2.24)) == pytest.approx(2.24, abs=0.04)


@pytest.mark.parametrize(
    ("config", "span_s"),
    [
        (ClipConfig(8, 12.5, "fixed"), 2.24),
        (ClipConfig(1, 12.5), 2.24),
        (ClipConfig(8, 12.5), 0.5),
        (ClipConfig(8, 12.5), 0.56),  # just as far
    ],
)
def test_a_clip_that_need_not_be_stretched_stays(config, span_s) -> None:
    assert stretched(config, span_s) is config


def test_flow_of_a_clip_is_between_neighbours_that_are_real() -> None:
    asked = []

    def between(tick: int, earlier: int) -> np.ndarray:
        asked.append((tick, earlier))
        return np.full((36, 2), tick, dtype=np.float32)

    plan = ClipPlan(
        np.array([0, 0, 40, 80]), np.array([False, True, True, True]), np.zeros(4, np.float32)
    )
    flow = clip_flow(plan, between)
    assert flow.shape == (4, FLOW_SIDE**2, 2) == (4, 36, 2)
    assert flow.dtype == np.float32
    assert asked == [(40, 0), (80, 40)]
    assert flow[:, 0, 0].tolist() == [0.0, 0.0, 40.0, 80.0]
    alone = ClipPlan(np.array([40]), np.array([True]), np.zeros(1, np.float32))
    assert not clip_flow(alone, between).any()
