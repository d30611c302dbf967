"""Training windows by hand: which rows of which episode become which numbers of a batch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from neon_sim.demonstrations import windows as windows_module
from neon_sim.demonstrations.episode_table import EpisodeMeta
from neon_sim.demonstrations.layout import ACTION_KEY, FLOW_KEY
from neon_sim.demonstrations.windows import (
    BalancedBatches,
    build_windows,
    check_datasets,
    chunk_labels,
    is_validation,
    window_steps,
)
from neon_sim.errors import DatasetError
from neon_sim.seeding import key_of

META = EpisodeMeta(
    index=0,
    task_name="arm_catch",
    version=0,
    seed=1000,
    episode=0,
    source="expert",
    success=True,
    initial_hash="h",
    description="catch it",
    length=10,
    first_row=0,
    data_file="data",
    videos={},
)


class Demos:
    """A dataset whose numbers say where they come from: 1 / 1000 a row, 1 / 10 an episode."""

    def __init__(self, *metas: EpisodeMeta, name: str = "demos", dim: int = 8, **info: Any) -> None:
        self.root, self.episodes = Path(name), metas
        self.info = {
            "features": {ACTION_KEY: {"shape": [dim]}},
            "robot_type": "franka_panda",
        } | info
        self.has_state, self.task_names = True, ["arm_catch"]
        self.checked: list[Any] = []

    def load(self, index: int) -> Any:
        rows = (np.arange(self.episodes[index].length) / 1000 + index / 10)[:, None]
        values = np.repeat(rows, 8, axis=1).astype(np.float32)
        return SimpleNamespace(action=values, agent_pos=-values)

    def check_statistics(self, keys: Any = None) -> None:
        self.checked.append(keys)


class Scales:
    """In the place of ``ScaleCheck`` (test_dataset_damage.py): remembers what it was shown."""

    made: ClassVar[list[Scales]] = []

    def __init__(self, robot: Any, dim: int) -> None:
        self.robot, self.dim = robot, dim
        self.shown: list[Any] = []
        self.made.append(self)

    def add(self, where: str, episode: Any) -> None:
        self.shown.append((where, float(episode.action[0, 0])))

    def finish(self, root: Path) -> None:
        self.shown.append(("finish", root))


@pytest.fixture
def scales(monkeypatch) -> list[Scales]:
    monkeypatch.setattr(windows_module, "ScaleCheck", Scales)
    monkeypatch.setattr(windows_module, "robot_of", lambda info: info["robot_type"])
    Scales.made.clear()
    return Scales.made


# ---- which steps ----


@pytest.mark.parametrize(
    ("length", "stride", "episode", "steps"),
    [
        (10, 4, 0, [0, 4, 8]),
        (10, 4, 5, [0, 4, 8]),  # a stride of 4 shows every multiple of 4 from any start
        (9, 4, 0, [0, 4, 8]),
        (8, 4, 0, [0, 4]),
        (30, 12, 0, [0, 12, 24]),
        (30, 12, 1, [4, 16, 28]),
        (30, 12, 2, [8, 20]),
        (30, 12, 3, [0, 12, 24]),
        (10, 6, 1, [4]),
        (10, 6, 2, [2, 8]),
        (3, 1, 7, [0, 1, 2]),
        (3, 12, 1, [1]),  # shorter than its start: cut all the same
    ],
)
def test_episodes_are_cut_every_stride_from_starts_four_apart(length, stride, episode, steps):
    found = window_steps(length, stride, episode)
    assert found.tolist() == steps
    assert found.dtype == np.int64
    if not episode:
        assert window_steps(length, stride).tolist() == steps


def test_a_label_is_the_next_sixteen_rows_and_the_last_one_again() -> None:
    action = np.arange(20, dtype=np.float64)[:, None] * np.ones(3)
    chunks, weight = chunk_labels(action, np.array([0, 4, 5, 19]))
    assert chunks.shape == (4, 16, 3)
    assert chunks.dtype == weight.dtype == np.float32
    for start, chunk, real in zip((0, 4, 5, 19), chunks, weight, strict=True):
        assert chunk[:, 0].tolist() == [min(start + i, 19) for i in range(16)]
        assert real.tolist() == [float(start + i < 20) for i in range(16)]


# ---- which episodes validate ----


def test_an_episode_validates_by_what_it_is() -> None:
    """The same in every version: a head that is trained on keeps its split."""
    for episode in range(40):
        meta = replace(META, episode=episode)
        key = [key_of("validation"), key_of("arm_catch"), 0, 1000, episode]
        drawn = np.random.default_rng(np.random.SeedSequence(key)).random()
        for fraction in (0.0, 0.1, 0.5, 1.0):
            assert is_validation(meta, fraction) is bool(drawn < fraction)
        assert is_validation(replace(meta, index=9, source="noisy", success=False), 0.5) is (
            drawn < 0.5
        )
    assert is_validation(META, drawn_of(META)) is False, "less than the fraction, not as much"


def drawn_of(meta: EpisodeMeta) -> float:
    key = [key_of("validation"), key_of(meta.task_name), meta.version, meta.seed, meta.episode]
    return float(np.random.default_rng(np.random.SeedSequence(key)).random())


@pytest.mark.parametrize("change", [{"task_name": "arm_reach"}, {"version": 1}, {"seed": 1001}])
def test_every_part_of_the_identity_decides(change) -> None:
    metas = [replace(META, episode=episode) for episode in range(64)]
    one = [is_validation(meta, 0.5) for meta in metas]
    assert one != [is_validation(replace(meta, **change), 0.5) for meta in metas]
    assert 16 < sum(one) < 48


# ---- building ----


def test_windows_stand_in_the_order_of_the_datasets_and_know_where_they_are_from(scales) -> None:
    one = Demos(META, replace(META, index=1, episode=1, task_name="arm_block", description="b"))
    two = Demos(replace(META, length=5, episode=2, description="a"))
    windows = build_windows([one, two], stride=8, val_fraction=0.5)
    # episode 0 is cut at 0 and 8, episode 1 at 4, episode 2 at 0
    starts = np.array([0.0, 0.008, 0.104, 0.0], dtype=np.float32)
    assert len(windows) == 4
    np.testing.assert_allclose(windows.agent_pos[:, 0], -starts, rtol=1e-6)
    np.testing.assert_allclose(windows.actions[:, 0, 3], starts, rtol=1e-6)
    np.testing.assert_allclose(
        windows.actions[:, 15, 0], np.array([0.009, 0.009, 0.109, 0.004]), rtol=1e-6
    )
    assert windows.weight.sum(axis=1).tolist() == [10, 2, 6, 5]
    assert windows.tasks == ["arm_block", "arm_catch"]
    assert windows.texts == ["a", "b", "catch it"]
    assert windows.task.tolist() == [1, 1, 0, 1]
    assert windows.text.tolist() == [2, 2, 1, 0]
    metas = [META, META, one.episodes[1], two.episodes[0]]
    assert windows.validation.tolist() == [is_validation(meta, 0.5) for meta in metas]
    assert windows.validation.dtype == bool
    assert windows.actions.shape == (4, 16, 8)


def test_no_episode_is_an_error() -> None:
    for datasets in ([], [Demos()]):
        with pytest.raises(DatasetError, match="hold no episode"):
            build_windows(datasets, 4, 0.1)


def test_every_dataset_is_held_to_its_robot_and_its_statistics(scales) -> None:
    one, two = Demos(META, replace(META, index=7, task_name="arm_block")), Demos(META, name="two")
    build_windows([one, two], 4, 0.1)
    assert [(check.robot, check.dim) for check in scales] == [("franka_panda", 8)] * 2
    first, second = (check.shown for check in scales)
    assert first == [
        ("demos: episode 0 (arm_catch)", 0.0),
        ("demos: episode 7 (arm_block)", pytest.approx(0.1)),
        ("finish", Path("demos")),
    ]
    assert second == [("two: episode 0 (arm_catch)", 0.0), ("finish", Path("two"))]
    assert one.checked == two.checked == [None], "all of them"


# ---- one policy, one robot ----


def test_datasets_of_one_policy_are_of_one_robot_and_one_length_of_action() -> None:
    arm, twin = Demos(META), Demos(META, name="twin")
    check_datasets([arm, twin], ())
    check_datasets([], ())
    longer, other = Demos(META, name="longer", dim=17), Demos(META, name="other", robot_type="g1")
    arm_is = "demos is of franka_panda with actions of 8"
    with pytest.raises(DatasetError, match=f"{arm_is}, longer of"):
        check_datasets([arm, longer, other], ())
    for odd, said in (
        (longer, f"{arm_is}, longer of franka_panda with actions of 17"),
        (other, f"{arm_is}, other of g1 with actions of 8"),
    ):
        with pytest.raises(DatasetError, match=said):
            check_datasets([arm, odd], ())


@pytest.mark.parametrize(
    ("need", "have", "said"),
    [
        ("audio", {"audio_file": "a.flac"}, "holds arm_block without sound"),
        ("flow", {"flow_ticks": 40}, "holds arm_block without exact flow"),
    ],
)
def test_what_a_policy_needs_is_in_every_episode(need, have, said) -> None:
    full, bare = replace(META, **have), replace(META, task_name="arm_block")
    check_datasets([Demos(full), Demos(full)], {need})
    check_datasets([Demos(full, bare)], {"video"})
    with pytest.raises(DatasetError, match=said):
        check_datasets([Demos(full), Demos(full, bare)], {need, "video"})
    data = Demos(full)
    check_datasets([data], {need})
    assert data.checked == ([[FLOW_KEY]] if need == "flow" else [])


def test_an_oracle_needs_the_true_positions() -> None:
    bare = Demos(META, name="bare")
    bare.has_state = False
    check_datasets([bare], {"video"})
    with pytest.raises(DatasetError, match=r"bare.*arm_catch"):
        check_datasets([Demos(META), bare], {"state"})
    check_datasets([Demos(META)], {"state"})


# ---- batches ----


def test_batches_walk_through_each_task_in_orders_of_seed_task_and_epoch() -> None:
    """The same in every version: a head is trained on the same batches again."""
    task = np.array([2, 0, 2, 2, 0, 2, 0, 2])
    allowed = np.array([True, True, True, False, True, True, True, True])
    pools = {0: [1, 4, 6], 1: [0, 2, 5, 7]}  # of tasks 0 and 2, without window 3
    batches = BalancedBatches(task, allowed, batch_size=5, seed=9)
    drawn: dict[int, list[int]] = {0: [], 1: []}
    slot = 0
    for step in range(8):
        batch = batches.batch(step)
        assert batch.shape == (5,)
        assert batch.dtype == np.int64
        for window in batch:
            drawn[slot % 2].append(int(window))
            slot += 1
    for k, pool in pools.items():
        want: list[int] = []
        for epoch in range(8):
            key = [key_of("batches"), 9, k, epoch]
            order = np.random.default_rng(np.random.SeedSequence(key)).permutation(len(pool))
            want += [pool[i] for i in order]
        assert drawn[k] == want[: len(drawn[k])]


def test_a_batch_is_the_same_without_those_before_it() -> None:
    task = np.arange(30) % 3
    allowed = np.ones(30, dtype=bool)
    walked = BalancedBatches(task, allowed, 8, seed=1)
    steps = [walked.batch(step) for step in range(20)]
    # 20 batches of 8 are 53 or 54 windows of each pool of 10: epoch 5, and the one before
    assert sorted(walked._orders) == [(k, epoch) for k in range(3) for epoch in (4, 5)]
    assert walked._order(1, 5) is walked._order(1, 5), "drawn once"
    for step in (19, 3, 0, 11):
        fresh = BalancedBatches(task, allowed, 8, seed=1).batch(step)
        np.testing.assert_array_equal(fresh, steps[step])
        np.testing.assert_array_equal(walked.batch(step), steps[step])


def test_nothing_to_draw_from_is_an_error() -> None:
    with pytest.raises(DatasetError, match="no window to train on"):
        BalancedBatches(np.zeros(4, dtype=int), np.zeros(4, dtype=bool), 2, 0)
