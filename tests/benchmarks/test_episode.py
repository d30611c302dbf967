"""One episode, step by step, in an environment that plays what a script says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neon_sim.benchmarks.running.episode import (
    Episode,
    Job,
    Settings,
    error_text,
    lost_row,
    smoothness,
)
from neon_sim.benchmarks.runs.folder import ROW_KEYS
from neon_sim.benchmarks.runs.plan import Cell, PolicySpec, RunOptions
from neon_sim.benchmarks.runs.scripted import SCRIPTED
from neon_sim.chunks import ChunkExecutor
from neon_sim.clock import CONTROL_DT_S
from neon_sim.config.policy import PolicyConfig
from neon_sim.errors import ConfigError

HOLD = np.full(3, 0.25)


@dataclass
class Stage:
    """An environment whose steps are (terminated, truncated, fits what sounds, progress)."""

    script: Sequence[tuple[bool, bool, bool, float]] = ()
    CUE: str = "side"
    latent: dict[str, Any] = field(default_factory=lambda: {"side": "left", "speed": 2})
    fits_true: Sequence[bool] = ()
    resets: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    actions: list[np.ndarray] = field(default_factory=list)
    counted: int = 0
    drawn: int = 1
    twin_hash: str = "start"
    joint_scale: np.ndarray = field(default_factory=lambda: np.array([2.0, 4.0]))

    @property
    def unwrapped(self) -> Stage:
        return self

    @property
    def limits(self) -> Stage:
        return self

    def some_joint(self) -> float:
        return self.counted / 100

    def reset(self, seed: int, options: dict[str, Any]) -> None:
        self.resets.append((seed, options))
        self.latent = {**self.latent, **options.get("latent", {})}

    def initial_hash(self) -> str:
        return "start" if len(self.resets) == 1 else self.twin_hash

    def hold_action(self) -> np.ndarray:
        return HOLD

    def cues(self) -> list[str]:
        return ["left", "middle", "right"]

    def rng(self, stream: str) -> Any:
        assert stream == "swap"
        self.asked_below: list[int] = []

        class Drawn:
            def integers(_, below: int) -> int:
                self.asked_below.append(below)
                return self.drawn

        return Drawn()

    def fits(self, cue: str) -> bool:
        assert cue == "left", "the cue of the episode itself"
        return self.fits_true[len(self.actions) - 1]

    def count_limits(self) -> None:
        self.counted += 1

    def advance(self, action: np.ndarray) -> tuple[None, bool, bool, dict[str, Any]]:
        terminated, truncated, fits, progress = self.script[len(self.actions)]
        self.actions.append(action)
        return None, terminated, truncated, {"is_success": np.bool_(fits), "progress": progress}


def make_episode(
    stage: Stage, condition: str = "video", latency: int | None = None, **more: Any
) -> Episode:
    """Episode 7 of run seed 5, looked at every 2 steps."""
    spec = PolicySpec("p", "network", (condition,), (1,), latency_steps=latency)
    job = Job(spec, Cell("t", "p", condition, 1), (7,), Settings(5, 3, RunOptions(), 4))
    return Episode(stage, job, 7, ChunkExecutor(2, job.latency_steps), **more)


def steps(*progress: float, fits: Sequence[bool] = (), end: str = "") -> list[Any]:
    """A script; ``end`` is how it ends: terminated or truncated."""
    last = len(progress) - 1
    return [
        (
            end == "terminated" and at == last,
            end == "truncated" and at == last,
            bool(fits) and fits[at],
            value,
        )
        for at, value in enumerate(progress)
    ]


def test_an_episode_is_reset_to_its_number_and_holds_still_until_a_chunk_comes() -> None:
    stage = Stage(steps(0.0, 0.1, 0.2))
    episode = make_episode(stage)
    episode.start()
    assert stage.resets == [(5, {"episode": 7})]
    assert episode.initial_hash == "start"
    assert not episode.over
    assert episode.error is None
    episode.advance(2)
    assert episode.steps == stage.counted == 2
    for action in stage.actions:
        np.testing.assert_array_equal(action, HOLD)
    assert episode.core is stage


def test_it_goes_on_by_as_many_steps_as_are_asked_or_to_its_end() -> None:
    for end in ("terminated", "truncated"):
        seen: list[Any] = []
        stage = Stage(steps(0.1, 0.2, 0.3, end=end))
        episode = make_episode(stage, on_step=seen.append)
        episode.start()
        episode.advance(2)
        assert not episode.over
        episode.advance(5)
        assert episode.over
        assert episode.steps == 3
        assert episode.error is None
        assert seen == [stage] * 3


def test_success_at_any_time_and_at_the_end_and_the_furthest_progress() -> None:
    stage = Stage(steps(0.2, 0.9, 0.4, fits=[False, True, False], end="truncated"))
    episode = make_episode(stage)
    episode.start()
    episode.advance(9)
    row = episode.row()
    assert (row["success"], row["success_final"]) == (True, False)
    assert row["progress"] == 0.9
    late = make_episode(Stage(steps(0.2, 0.3, fits=[False, True], end="terminated")))
    late.start()
    late.advance(1)
    assert (late.success, late.success_final) == (False, False)
    late.advance(1)
    assert (late.row()["success"], late.row()["success_final"]) == (True, True)
    assert isinstance(late.row()["success"], bool)


@pytest.mark.parametrize("success_before", [True, False])
def test_an_episode_that_raised_is_no_success_whatever_it_did_before(success_before) -> None:
    stage = Stage(steps(0.5, 0.6, fits=[success_before, success_before]))
    episode = make_episode(stage)
    episode.start()
    episode.advance(2)
    assert episode.success is episode.success_final is success_before
    episode.advance(1)  # the script is at its end
    assert episode.over
    row = episode.row()
    assert row["success"] is row["success_final"] is False
    assert row["error"].startswith("IndexError: list index out of range (test_episode.py:")
    assert (row["steps"], row["progress"]) == (2, 0.6)
    assert row["success_swapped"] is None


def test_a_reset_that_raises_ends_the_episode_before_it_began() -> None:
    class Broken(Stage):
        def reset(self, seed: int, options: dict[str, Any]) -> None:
            raise RuntimeError("no\n  start")

    episode = make_episode(Broken())
    episode.start()
    assert episode.over
    row = episode.row()
    assert row["error"].startswith("RuntimeError: no start (test_episode.py:")
    assert row["initial_hash"] is None
    assert row["limits"] is None
    assert row["success"] is False
    assert (row["steps"], row["progress"]) == (0, 0.0)


def test_under_a_swap_the_row_goes_by_the_true_cue_and_says_what_fits_the_false_one() -> None:
    script = steps(0.1, 0.2, 0.3, fits=[True, False, False], end="truncated")
    stage = Stage(script, fits_true=[False, True, False])
    episode = make_episode(stage, "swap_audio_at_test")
    episode.start()
    assert episode.true_cue == "left"
    twin = {"episode": 7, "latent": {"side": "right", "speed": 2}}
    assert stage.resets == [(5, {"episode": 7}), (5, twin)]
    assert stage.asked_below == [2], "of the two other cues"
    episode.advance(1)
    row = episode.row()
    assert (row["success"], row["success_final"], row["success_swapped"]) == (False, False, True)
    episode.advance(1)
    row = episode.row()
    assert (row["success"], row["success_final"], row["success_swapped"]) == (True, True, True)
    episode.advance(1)
    row = episode.row()
    assert (row["success"], row["success_final"], row["success_swapped"]) == (True, False, True)
    episode.advance(1)  # raises: the script is at its end
    row = episode.row()
    assert row["success"] is row["success_final"] is row["success_swapped"] is False


def test_an_episode_that_has_not_moved_has_not_succeeded() -> None:
    for condition, swapped in (("video", None), ("swap_audio_at_test", False)):
        episode = make_episode(Stage(steps(0.3), fits_true=[False]), condition)
        episode.start()
        assert episode.over is False
        row = episode.row()
        assert row["success"] is row["success_final"] is False
        assert row["success_swapped"] is swapped
        assert (row["error"], row["progress"], row["steps"]) == (None, 0.0, 0)
        episode.advance(1)  # and does not by a step that fits nothing
        assert episode.row()["success_swapped"] is swapped


@pytest.mark.parametrize(("drawn", "heard"), [(0, "middle"), (1, "right")])
def test_what_sounds_instead_is_drawn_among_the_other_cues(drawn: int, heard: str) -> None:
    stage = Stage(drawn=drawn)
    make_episode(stage, "swap_audio_at_test").start()
    assert stage.resets[1][1]["latent"]["side"] == heard


def test_another_cue_must_change_nothing_that_is_seen() -> None:
    episode = make_episode(Stage(twin_hash="other"), "swap_audio_at_test")
    episode.start()
    assert episode.over
    assert episode.error is not None
    for part in ("ConfigError: side must change nothing but the sound", "'right' for 'left'"):
        assert part in episode.error
    assert "neon-bench certify --task t says where" in episode.error
    assert episode.row()["success_swapped"] is False
    plain = make_episode(Stage(twin_hash="other"))
    plain.start()
    assert not plain.over
    assert plain.true_cue is None


def test_a_row_holds_what_was_played_and_how_long_it_took() -> None:
    stage = Stage(steps(0.0, 0.0, 0.0, 0.0, 1.0, fits=[False] * 4 + [True], end="terminated"))
    episode = make_episode(stage, latency=0)
    episode.start()
    chunks = [np.full((16, 3), 0.5), np.full((16, 3), 0.75), np.full((16, 3), 0.25)]
    for chunk in chunks:
        episode.spend("observe_s", 0.125)
        episode.spend("think_s", 0.25)
        episode.looks += 1
        episode.executor.push(chunk)
        episode.advance(2)
    row = episode.row()
    assert tuple(row) == ROW_KEYS
    # joints 0 and 1 moved by 0.25 x (2, 4) at step 2 and by 0.5 x (2, 4) at step 4
    assert episode.boundaries == [2, 4]
    assert row["boundary_jump"] == pytest.approx((0.75 + 1.5) / 2)
    assert row["mean_jerk"] > 0
    assert (row["latency_steps"], row["replan_steps"]) == (0, 2)
    assert (row["task"], row["policy"], row["condition"], row["train_seed"]) == (
        *Cell("t", "p", "video", 1),
    )
    assert (row["seed"], row["episode"], row["initial_hash"]) == (5, 7, "start")
    assert row["limits"] == pytest.approx(0.05)
    assert row["error"] is None
    timing = row["timing"]
    assert timing["inference_ms_mean"] == pytest.approx(250.0)
    assert timing["observe_ms_mean"] == pytest.approx(125.0)
    assert timing["looks"] == 3
    assert 3 * 0.375 <= timing["wall_s"] < 3 * 0.375 + 5
    assert timing["wall_s"] == round(episode.wall_s, 4)


@pytest.mark.parametrize(
    ("spec", "replan_steps"),
    [
        (PolicySpec("p", "network", ("video",), (1,), config=PolicyConfig(replan_steps=6)), 6),
        (PolicySpec("p", "network", ("video",), (1,), replan_steps=8), 8),
        (PolicySpec("expert", "scripted", ("scripted",), (None,)), SCRIPTED["expert"].replan_steps),
        (PolicySpec("hold@replan8", "scripted", ("scripted",), (None,), replan_steps=8), 8),
    ],
)
@pytest.mark.parametrize(("word", "swapped"), [("video", None), ("swap_audio_at_test", False)])
def test_the_row_of_an_episode_that_no_process_survived(
    spec: PolicySpec, replan_steps: int, word: str, swapped: bool | None
) -> None:
    job = Job(spec, Cell("t", spec.name, word, 1), (7,), Settings(5, 3, RunOptions(), 4))
    assert lost_row(job, 7, "WorkerDied: gone") == {
        "task": "t",
        "policy": spec.name,
        "condition": word,
        "train_seed": 1,
        "seed": 5,
        "episode": 7,
        "initial_hash": None,
        "success": False,
        "success_final": False,
        "progress": 0.0,
        "steps": 0,
        "mean_jerk": 0.0,
        "boundary_jump": 0.0,
        "latency_steps": 3,
        "replan_steps": replan_steps,
        "success_swapped": swapped,
        "limits": None,
        "error": "WorkerDied: gone",
        "timing": {"wall_s": 0.0, "inference_ms_mean": 0.0, "observe_ms_mean": 0.0, "looks": 0},
    }


def test_an_episode_that_was_not_started_took_no_time_and_moved_nothing() -> None:
    episode = make_episode(Stage())
    assert episode.wall_s == 0.0
    assert smoothness([], [], np.ones(3)) == (0.0, 0.0)


def test_the_clock_runs_while_an_episode_starts_and_steps(monkeypatch) -> None:
    now = iter(range(1, 100))
    monkeypatch.setattr(
        "neon_sim.benchmarks.running.episode.time.perf_counter", lambda: float(next(now))
    )
    episode = make_episode(Stage(steps(0.0, 0.0, end="truncated")))
    episode.start()
    assert episode.wall_s == 1.0
    episode.advance(1)
    assert episode.wall_s == 2.0
    episode.advance(2)
    assert episode.over
    assert episode.wall_s == 3.0, "the last steps count too"
    episode.spend("think_s", 0.00012345)
    episode.spend("observe_s", 0.00056789)
    assert episode.row()["timing"] == {
        "wall_s": 3.0007,
        "inference_ms_mean": 0.123,
        "observe_ms_mean": 0.568,
        "looks": 0,
    }


def test_a_chunk_that_takes_over_at_the_first_step_joins_nothing() -> None:
    stage = Stage(steps(0.0, 0.0))
    episode = make_episode(stage, latency=0)
    episode.start()
    for number in (0.1, 0.2):  # the second takes over from the first before a step was made
        episode.executor.push(np.full((16, 3), number))
    episode.advance(2)
    assert episode.boundaries == []


def test_a_policy_may_be_later_than_the_run() -> None:
    assert make_episode(Stage()).job.latency_steps == 3
    assert make_episode(Stage(), latency=0).job.latency_steps == 0
    assert make_episode(Stage(), latency=8).job.latency_steps == 8


def test_the_text_of_an_error_names_kind_message_and_line() -> None:
    assert error_text(ConfigError("too\n   much")) == "ConfigError: too much"
    try:
        raise ValueError("here")
    except ValueError as error:
        text = error_text(error)
    assert re.fullmatch(rf"ValueError: here \({Path(__file__).name}:\d+\)", text)

    def inner() -> None:
        raise KeyError("deep")

    with pytest.raises(KeyError) as raised:
        inner()
    line = inner.__code__.co_firstlineno + 1
    assert error_text(raised.value) == f"KeyError: 'deep' ({Path(__file__).name}:{line})"


# ---- smoothness ----


def test_jerk_is_the_third_difference_of_the_joints_in_rad() -> None:
    rng = np.random.default_rng(0)
    targets = [rng.uniform(-1, 1, 5) for _ in range(9)]
    scale = np.array([0.5, 2.0, 3.0])  # two more numbers of an action are grippers
    path = np.array([target[:3] * scale for target in targets])
    jerks = [
        abs(path[t + 3, j] - 3 * path[t + 2, j] + 3 * path[t + 1, j] - path[t, j]) / CONTROL_DT_S**3
        for t in range(6)
        for j in range(3)
    ]
    jumps = [abs(path[t, j] - path[t - 1, j]) for t in (1, 4, 8) for j in range(3)]
    jerk, jump = smoothness(targets, [1, 4, 8], scale)
    assert jerk == pytest.approx(np.mean(jerks))
    assert jump == pytest.approx(np.mean(jumps))
    assert isinstance(jerk, float)
    assert isinstance(jump, float)


def test_smoothness_is_computed_in_double_precision() -> None:
    rng = np.random.default_rng(1)
    targets = [rng.uniform(-1, 1, 2).astype(np.float32) for _ in range(50)]
    scale = np.array([0.7, 1.3], dtype=np.float32)
    exact = smoothness([t.astype(np.float64) for t in targets], [7], scale.astype(np.float64))
    assert smoothness(targets, [7], scale) == pytest.approx(exact, rel=1e-12)


def test_a_path_that_is_too_short_has_no_jerk() -> None:
    scale = np.ones(2)
    targets = [np.zeros(2), np.ones(2), np.zeros(2), np.ones(2)]
    assert smoothness(targets[:1], [], scale) == (0.0, 0.0)
    assert smoothness(targets[:2], [1], scale) == (0.0, 1.0)
    assert smoothness(targets[:3], [], scale) == (0.0, 0.0)
    assert smoothness(targets, [], scale)[0] == pytest.approx(4 / CONTROL_DT_S**3)
