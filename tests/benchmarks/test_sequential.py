"""What a run computes next, and when it stops: blocks, jobs, decisions, without a simulator."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sequential_fakes import A, B, C, plan, row

from neon_sim.benchmarks.analysis.statistics import e_value
from neon_sim.benchmarks.running import runner
from neon_sim.benchmarks.running.episode import Job
from neon_sim.benchmarks.running.players import Players
from neon_sim.benchmarks.running.runner import Resources, blocks, decide, job_size, make_jobs, run
from neon_sim.benchmarks.runs.folder import Row, RunFolder, describe
from neon_sim.benchmarks.runs.plan import Cell, PolicySpec, RunOptions, RunPlan
from neon_sim.benchmarks.runs.stored import holds
from neon_sim.errors import ConfigError, NeonError, RunError, UnknownNameError

Wins = Callable[[Cell, int], bool]


def rows_of(the_plan: RunPlan, task: str, episodes: int, wins: Wins) -> list[Row]:
    return [
        row(cell, e, wins(cell, e)) for _, cell in the_plan.cells(task) for e in range(episodes)
    ]


# ---- deciding ----


def test_a_decision_needs_evidence_of_1_over_alpha() -> None:
    """Of w episodes that b alone wins the e-value is 2^w B(w + 1/2, 1/2) / B(1/2, 1/2)."""
    value = 1.0
    for won in range(1, 12):
        value *= 2 * (won - 0.5) / won  # 1, 1.5, 2.5, 4.4, 7.9, 14.4, 26.8, ...
        rows = rows_of(plan(), "one", won, lambda cell, _: cell.policy == "b")
        for alpha in (0.2, 0.1, 0.05, 0.01):
            found = decide(plan(alpha=alpha), "one", rows)
            assert found["e_value"] == pytest.approx(value)
            assert found["decided"] == (value >= 1 / alpha)
            assert found["episodes"] == won
            assert found["columns"] == [["a", "video"], ["b", "video"]]


@pytest.mark.parametrize(("value", "decided"), [(20.0, True), (19.999, False), (11.0, False)])
def test_the_level_is_alpha_and_not_twice_that(monkeypatch, value: float, decided: bool) -> None:
    monkeypatch.setattr(runner, "mean_e_value", lambda differences: value)
    rows = rows_of(plan(), "one", 1, lambda *_: True)
    assert decide(plan(alpha=0.05), "one", rows)["decided"] is decided


def test_without_a_pair_nothing_is_decided() -> None:
    for rows in ([], rows_of(plan(A), "one", 9, lambda *_: True)):
        found = decide(plan(), "one", rows)
        assert (found["e_value"], found["episodes"], found["decided"]) == (1.0, 0, False)


def test_only_the_first_two_columns_and_the_task_itself_decide() -> None:
    three = plan(A, B, C, tasks=("one", "two"))
    rows = rows_of(three, "one", 20, lambda cell, _: cell.policy == "c")
    rows += rows_of(three, "two", 20, lambda cell, _: cell.policy == "a")
    assert not decide(three, "one", rows)["decided"]
    assert decide(three, "one", rows)["e_value"] == pytest.approx(1.0)
    assert decide(three, "two", rows)["decided"]


def test_training_seeds_are_averaged_not_added() -> None:
    specs = [PolicySpec(name, "network", ("video",), (0, 1)) for name in "ab"]
    several = plan(*specs)
    rows = rows_of(several, "one", 7, lambda cell, _: cell.policy == "b" and cell.train_seed == 0)
    single = rows_of(plan(), "one", 7, lambda cell, _: cell.policy == "b")
    evidence = decide(plan(), "one", single)["e_value"]
    assert decide(several, "one", rows)["e_value"] == pytest.approx((evidence + 1.0) / 2)


def test_rows_that_raised_decide_nothing() -> None:
    """1 of 100 may have raised, and then the least evidence of the two ways counts."""
    hundred = plan(episodes=200)

    def decided_with(lost: int, wins: Wins, episodes: int = 100) -> dict[str, Any]:
        rows = rows_of(hundred, "one", episodes, wins)
        for each in rows:
            if each["policy"] == "a" and each["episode"] < lost:
                each |= {"error": "fire", "success": False}
        return decide(hundred, "one", rows)

    def lost_at(episode: int) -> float:
        rows = rows_of(hundred, "one", 100, won(8))
        for each in rows:
            if (each["policy"], each["episode"]) == ("a", episode):
                each |= {"error": "fire", "success": False}
        return float(decide(hundred, "one", rows)["e_value"])

    def won(count: int) -> Wins:
        return lambda cell, episode: cell.policy == "b" and episode < count

    assert decided_with(0, won(8))["e_value"] == pytest.approx(e_value(0, 8))
    assert decided_with(1, won(8))["e_value"] == pytest.approx(e_value(0, 7)), "a might have won"
    assert decided_with(1, won(8))["episodes"] == 100
    assert decided_with(2, won(90)) | {"columns": 0} == {
        "columns": 0,
        "episodes": 100,
        "e_value": 1.0,
        "decided": False,
    }
    assert decided_with(9, won(9), episodes=9)["e_value"] == 1.0, "nothing was measured"
    assert lost_at(50) == pytest.approx(e_value(1, 8)), "where b failed, a might have won alone"
    # with the one that raised either side might be ahead
    assert decided_with(1, lambda cell, e: e == (1 if cell.policy == "a" else 0))["e_value"] == 1.0


# ---- blocks and jobs ----


def test_a_look_comes_every_twenty_episodes() -> None:
    assert list(blocks(plan(episodes=50))) == [range(20), range(20, 40), range(40, 50)]
    assert list(blocks(plan(episodes=20))) == [range(20)]
    assert list(blocks(plan(episodes=50, until_decided=False))) == [range(50)]


@pytest.mark.parametrize(
    ("total", "workers", "batch", "size"),
    [
        (100, 1, 8, 13),  # an eighth of a worker's share, rounded up
        (96, 1, 8, 12),
        (100, 2, 8, 8),  # 7 would not fill the batch
        (10_000, 1, 8, 64),
        (10_000, 1, 128, 128),
        (0, 1, 8, 8),
    ],
)
def test_jobs_fill_a_batch_and_share_the_end(total, workers, batch, size) -> None:
    assert job_size(total, Resources(workers=workers, batch=batch)) == size


def test_jobs_hold_what_is_missing_of_a_block_in_order() -> None:
    the_plan = plan(tasks=("one", "two"), latency_steps=2, options=RunOptions(blending="linear"))
    done = rows_of(the_plan, "one", 5, lambda *_: True)
    done = [r for r in done if r["policy"] == "a"]
    done.append(row(Cell("one", "b", "video", 0), 1, True, seed=4))  # of another run seed
    jobs = make_jobs(the_plan, ["one", "two"], range(2, 12), done, Resources(batch=4))
    assert [(job.cell.task, job.cell.policy, job.episodes) for job in jobs] == [
        ("one", "a", (5, 6, 7, 8, 9)),
        ("one", "a", (10, 11)),
        *(
            (task, name, part)
            for task, name in (("one", "b"), ("two", "a"), ("two", "b"))
            for part in ((2, 3, 4, 5, 6), (7, 8, 9, 10, 11))
        ),
    ]
    assert {job.spec.name for job in jobs} == {"a", "b"}
    assert all(job.spec.name == job.cell.policy for job in jobs)
    settings = jobs[0].settings
    assert (settings.seed, settings.latency_steps, settings.batch) == (3, 2, 4)
    assert settings.options.blending == "linear"
    assert make_jobs(the_plan, ["one"], range(5), done, Resources())[0].cell.policy == "b"
    assert make_jobs(the_plan, [], range(5), [], Resources()) == []


@pytest.mark.parametrize(("batch", "good"), [(0, False), (1, True), (256, True), (257, False)])
def test_a_batch_has_1_to_256_environments(batch: int, good: bool) -> None:
    if good:
        Resources(batch=batch).validate()
        return
    with pytest.raises(ConfigError, match=rf"--batch must be 1 to 256.*got {batch}"):
        Resources(batch=batch).validate()


def test_a_run_has_workers_and_an_executor_that_exists() -> None:
    for executor in ("local", "ray"):
        Resources(workers=1, executor=executor).validate()
    with pytest.raises(ConfigError, match=r"--workers must be .*got 0"):
        Resources(workers=0).validate()
    with pytest.raises(UnknownNameError, match="executor 'rey'"):
        Resources(executor="rey").validate()


# ---- what belongs to a plan ----


def test_a_row_belongs_to_the_plan_that_would_compute_it() -> None:
    cell = Cell("one", "a", "video", 0)
    assert holds(plan(), row(cell, 59, True))
    for other, episode, seed in (
        (cell, 60, 3),
        (cell, 0, 4),
        (cell._replace(task="two"), 0, 3),
        (cell._replace(policy="c"), 0, 3),
        (cell._replace(condition="frame"), 0, 3),
        (cell._replace(train_seed=1), 0, 3),
    ):
        assert not holds(plan(), row(other, episode, True, seed=seed))


def test_a_row_in_words() -> None:
    cell = Cell("one", "a", "video", 0)
    assert describe(row(cell, 4, True)) == "one a video train seed 0 episode 4"
    assert describe(row(cell._replace(train_seed=None), 4, True)) == "one a video episode 4"


# ---- a whole run, played by a script ----


class ScriptedPool:
    """Computes jobs by looking up who wins; remembers what it was asked, block by block."""

    def __init__(self, wins: Wins) -> None:
        self.wins = wins
        self.asked: list[list[Job]] = []
        self.closed = False

    def run(self, work: Sequence[Any]) -> Iterator[Row]:
        jobs = [job for job in work if isinstance(job, Job)]
        if jobs:
            self.asked.append(jobs)
        for job in reversed(jobs):  # rows come in any order
            for episode in job.episodes:
                yield row(job.cell, episode, self.wins(job.cell, episode))

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def play(monkeypatch, tmp_path: Path) -> Callable[..., tuple[list[Row], ScriptedPool, dict]]:
    def _play(the_plan: RunPlan, wins: Wins, **more: Any):
        pool = ScriptedPool(wins)
        monkeypatch.setattr(runner, "make_pool", lambda executor, workers: pool)
        monkeypatch.setattr(runner, "check_players", lambda _: Players({"head": "hash"}))
        folder = RunFolder(tmp_path / "run")
        rows = run(the_plan, folder, more.pop("resources", Resources()), **more)
        assert pool.closed
        return rows, pool, folder.read_json(folder.manifest)

    return _play


def test_a_task_stops_where_it_is_decided_and_the_others_go_on(play) -> None:
    the_plan = plan(tasks=("clear", "open"))

    def wins(cell: Cell, episode: int) -> bool:
        return cell.policy == "b" if cell.task == "clear" else episode % 2 == 0

    told: list[Row] = []
    rows, pool, manifest = play(the_plan, wins, progress=told.append)
    counts = {task: sum(r["task"] == task for r in rows) for task in the_plan.tasks}
    assert counts == {"clear": 2 * 20, "open": 2 * 60}
    assert [sorted({job.cell.task for job in jobs}) for jobs in pool.asked] == [
        ["clear", "open"],
        ["open"],
        ["open"],
    ]
    clear, undecided = (manifest["decisions"][task] for task in the_plan.tasks)
    assert (clear["decided"], clear["episodes"]) == (True, 20)
    assert (undecided["decided"], undecided["episodes"]) == (False, 60)
    assert undecided["e_value"] < 20 <= clear["e_value"]
    assert manifest["finished"]
    assert len(told) == len(rows)
    assert [(r["task"], r["policy"], r["episode"]) for r in rows] == sorted(
        (r["task"], r["policy"], r["episode"]) for r in rows
    )


def test_a_task_may_be_decided_at_a_later_look(play) -> None:
    rows, pool, manifest = play(plan(), lambda c, e: c.policy == "b" and e % 4 == 0)
    # five wins in twenty episodes (7.9) are not enough, ten in forty are
    assert len(pool.asked) == 2
    assert len(rows) == 2 * 40
    assert manifest["decisions"]["one"]["episodes"] == 40


def test_a_run_that_is_stopped_has_said_what_it_is(play, tmp_path: Path) -> None:
    """Its folder names the plan before the first row is there, and every row is told of."""
    folder = RunFolder(tmp_path / "run")
    the_plan = plan(until_decided=False, episodes=3)
    told: list[Row] = []

    def look(new: Row) -> None:
        manifest = folder.read_json(folder.manifest)
        assert manifest["config"] == the_plan.resolved()
        assert "finished" not in manifest
        told.append(new)

    rows, *_ = play(the_plan, lambda cell, _: cell.policy == "b", progress=look)
    assert sorted(told, key=lambda r: (r["policy"], r["episode"])) == rows


def test_a_run_that_is_there_is_not_run_over(play, tmp_path: Path) -> None:
    the_plan = plan(until_decided=False, episodes=3)
    play(the_plan, lambda *_: True)
    before = (tmp_path / "run" / "episodes.jsonl").read_bytes()
    with pytest.raises(RunError, match="already holds a run; add --resume"):
        play(the_plan, lambda *_: False)
    assert (tmp_path / "run" / "episodes.jsonl").read_bytes() == before


def test_a_run_asks_for_the_workers_and_checks_the_players_it_was_given(
    monkeypatch, tmp_path: Path
) -> None:
    the_plan = plan(until_decided=False, episodes=2)
    made, checked = [], []

    def pool_of(executor: str, workers: int) -> ScriptedPool:
        made.append((executor, workers))
        return ScriptedPool(lambda *_: True)

    def check(asked: RunPlan) -> Players:
        checked.append(asked)
        return Players({"head": "checked"})

    monkeypatch.setattr(runner, "make_pool", pool_of)
    monkeypatch.setattr(runner, "check_players", check)
    assert Resources() == Resources(workers=1, batch=8, executor="local", command=[])
    for odd in (Resources(batch=0), Resources(executor="rey")):
        with pytest.raises(NeonError):
            run(the_plan, RunFolder(tmp_path / "odd"), odd)
    assert (made, checked, list(tmp_path.iterdir())) == ([], [], [])
    heads = []
    for name, known in (("first", None), ("second", Players({"head": "known"}))):
        folder = RunFolder(tmp_path / name)
        run(the_plan, folder, Resources(3, executor="ray"), players=known)
        heads.append(folder.read_json(folder.manifest)["checkpoints"]["head"])
    assert heads == ["checked", "known"], "not checked twice"
    assert checked == [the_plan]
    assert made == [("ray", 3)] * 2


def test_without_until_decided_everything_is_run_at_once(play) -> None:
    rows, pool, manifest = play(plan(until_decided=False), lambda c, _: c.policy == "b")
    assert len(rows) == 2 * 60
    assert len(pool.asked) == 1
    assert manifest["decisions"] == {}


def test_a_run_that_is_resumed_computes_what_it_lacks_and_what_raised(play, tmp_path) -> None:
    the_plan = plan(until_decided=False, episodes=10)
    whole, *_ = play(the_plan, lambda *_: True)
    path = RunFolder(tmp_path / "run").episodes
    lines = path.read_text().splitlines()
    lines[3] = lines[3].replace('"error": null', '"error": "RuntimeError: fire"')
    lines[3] = lines[3].replace(": true", ": false")
    del lines[15]
    path.write_text("\n".join(lines) + "\n")
    rows, pool, manifest = play(the_plan, lambda *_: True, resume=True)
    assert rows == whole
    asked = [(j.cell.policy, e) for jobs in pool.asked for j in jobs for e in j.episodes]
    assert asked == [("a", 3), ("b", 5)]
    assert len(manifest["resumed"]) == 1
    assert np.all([r["error"] is None for r in rows])
