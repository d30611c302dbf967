"""Continuing a run: what may have changed since, what may not, and what is kept."""

from __future__ import annotations

import copy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from sequential_fakes import plan, row

from neon_sim.benchmarks.running import runner
from neon_sim.benchmarks.running.runner import _changes, _open_log, check_same_run
from neon_sim.benchmarks.runs.folder import EpisodeLog, RunFolder
from neon_sim.benchmarks.runs.plan import Cell, PolicySpec, RunOptions
from neon_sim.config import PolicyConfig
from neon_sim.errors import RunError
from neon_sim.files import write_json

FOLDER = RunFolder("run")
WEIGHTS = {"a/video/0/one": "1111", "b/video/0/one": "2222"}


def manifest(**changes: Any) -> dict[str, Any]:
    """Of a run of two policies, as the runner writes it."""
    return {
        "config": plan(until_decided=False, alpha=0.05).resolved(),
        "checkpoints": dict(WEIGHTS),
        "renderer": {"backend": "egl"},
        "versions": {"mujoco": "4.0.0", "numpy": "2"},
        "started": "then",
        **changes,
    }


def config(**changes: Any) -> dict[str, Any]:
    return {**manifest()["config"], **changes}


def test_the_same_run_goes_on() -> None:
    check_same_run(manifest(), manifest(), FOLDER)
    check_same_run(manifest(versions={"mujoco": "4.0.0", "numpy": "3"}), manifest(), FOLDER)


@pytest.mark.parametrize(
    ("key", "value"),
    [("seed", 4), ("latency_steps", 1), ("until_decided", True), ("alpha", 0.1)],
)
def test_what_fixes_the_rows_is_named_when_it_differs(key: str, value: Any) -> None:
    for before, now in ((config(), config(**{key: value})), (config(**{key: value}), config())):
        with pytest.raises(RunError, match=rf"run is another run \(different: {key}\); choose"):
            check_same_run(manifest(config=before), manifest(config=now), FOLDER)
    old = config()
    del old[key]
    with pytest.raises(RunError, match=f"different: {key}"):
        check_same_run(manifest(config=old), manifest(), FOLDER)


@pytest.mark.parametrize(
    ("option", "value"),
    [("robot", "menagerie"), ("start_noise", 0.1), ("checkpoint", "x"), ("blending", "linear")],
)
def test_an_option_differs_but_a_new_one_had_its_default(option: str, value: Any) -> None:
    now = config(options=plan(options=RunOptions(**{option: value})).resolved()["options"])
    with pytest.raises(RunError, match="different: options"):
        check_same_run(manifest(), manifest(config=now), FOLDER)
    old = config()
    del old["options"][option]
    check_same_run(manifest(config=old), manifest(), FOLDER)
    with pytest.raises(RunError, match="different: options"):
        check_same_run(manifest(config=old), manifest(config=now), FOLDER)
    del old["options"]
    check_same_run(manifest(config=old), manifest(), FOLDER)
    with pytest.raises(RunError, match="different: options"):  # and not the other way round
        check_same_run(manifest(config=now), manifest(), FOLDER)


def test_tasks_policies_conditions_seeds_and_episodes_may_be_added() -> None:
    more = plan(
        PolicySpec("a", "network", ("video", "frame"), (0, 1)),
        PolicySpec("b", "network", ("video",), (0,)),
        PolicySpec("c", "network", ("video",), (0,)),
        tasks=("one", "two"),
        episodes=99,
        until_decided=False,
    )
    heads = {**WEIGHTS, "c/video/0/one": "3333"}
    check_same_run(manifest(), manifest(config=more.resolved(), checkpoints=heads), FOLDER)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"kind": "factory"}, "b.kind"),
        ({"checkpoint": "x"}, "b.checkpoint"),
        ({"replan_steps": 2}, "b.replan_steps"),
        ({"latency_steps": 2}, "b.latency_steps"),
        ({"config": {"head": "flow"}}, "b.config"),
        ({"kind": "factory", "checkpoint": "x"}, "b.checkpoint, b.kind"),
    ],
)
def test_a_policy_of_the_same_name_is_the_same(change: dict[str, Any], named: str) -> None:
    now = copy.deepcopy(config())
    entry = now["policies"][1]
    merged = {"config": entry["config"] | change["config"]} if "config" in change else {}
    entry |= {**change, **merged}
    for before, after in ((config(), now), (now, config())):
        with pytest.raises(RunError, match=rf"\(different: {named}\)"):
            check_same_run(manifest(config=before), manifest(config=after), FOLDER)


def own(**changes: Any) -> dict[str, Any]:
    """``config`` of a run of a policy of the user's own, as it is written since 2026-11-30."""
    spec = PolicySpec("m:f", "factory", ("video",), (0,), PolicyConfig(replan_steps=8))
    found = plan(spec, until_decided=False, alpha=0.05).resolved()
    found["policies"][0] |= changes
    return found


def test_a_policy_of_ones_own_has_an_interval_and_no_network() -> None:
    check_same_run(manifest(config=own()), manifest(config=own()), FOLDER)
    network = asdict(PolicyConfig(replan_steps=8, head="flow"))
    check_same_run(manifest(config=own(config=network)), manifest(config=own()), FOLDER)
    for changed in ({"replan_steps": 4}, {**network, "replan_steps": 4}, {}):
        with pytest.raises(RunError, match=r"\(different: m:f\.config\)"):
            check_same_run(manifest(config=own(config=changed)), manifest(config=own()), FOLDER)
    bare = own()
    del bare["policies"][0]["config"]
    with pytest.raises(RunError, match=r"\(different: m:f\.config\)"):
        check_same_run(manifest(config=bare), manifest(config=own()), FOLDER)


def test_what_policies_of_ones_own_say_of_themselves_stays_so_cell_by_cell() -> None:
    one, two = ({"name": name, "version": "1", "cells": cells} for name, cells in
                (("Pi", ["video/0/one", "video/1/one"]), ("Pj", ["frame/0/one"])))  # fmt: skip
    before = manifest(own_policies={"m:f": [one, two], "m:g": [one]})
    moved = {**one, "cells": ["video/1/one", "video/2/one"]}  # others of the same words
    same: list[dict[str, Any]] = [
        {"m:f": [one, two], "m:g": [one]},
        {"m:f": [moved, two]},
        {"m:f": [{**one, "version": "2", "cells": ["video/9/one"]}]},
        {"m:h": [two]},
    ]
    for says in same:
        check_same_run(before, manifest(own_policies=says), FOLDER)
    check_same_run(before, manifest(), FOLDER)
    check_same_run(manifest(), before, FOLDER)
    newer, other = {**one, "version": "2"}, {**two, "name": "Pk", "hash": "1"}
    for says, named in (
        ({"m:f": [newer, two]}, r"m:f\.version"),
        ({"m:f": [one], "m:g": [newer]}, r"m:g\.version"),
        ({"m:f": [newer, other]}, r"m:f\.version, m:f\.name, m:f\.hash"),
    ):
        with pytest.raises(RunError, match=rf"\(different: {named}\)"):
            check_same_run(before, manifest(own_policies=says), FOLDER)


def test_a_setting_that_an_old_policy_did_not_know_had_its_default() -> None:
    old = copy.deepcopy(config())
    del old["policies"][0]["config"]["audio"]
    check_same_run(manifest(config=old), manifest(), FOLDER)
    now = copy.deepcopy(config())
    now["policies"][0]["config"]["audio"] = "log_mel"
    with pytest.raises(RunError, match=r"different: a\.config"):
        check_same_run(manifest(config=old), manifest(config=now), FOLDER)
    scripted = {"name": "a", "kind": "scripted", "conditions": ["scripted"], "train_seeds": [None]}
    for entry in (old["policies"], now["policies"]):
        entry[0] = scripted
    check_same_run(manifest(config=old), manifest(config=now), FOLDER)


def test_weights_renderer_and_mujoco_are_the_same() -> None:
    for change, named in (
        ({"checkpoints": {**WEIGHTS, "a/video/0/one": "9999"}}, "weights of a/video/0/one"),
        ({"renderer": {"backend": "osmesa"}}, "renderer"),
        ({"versions": {"mujoco": "3.9"}}, r"mujoco 4\.0\.0 -> 3\.9"),
    ):
        with pytest.raises(RunError, match=rf"\(different: {named}\)"):
            check_same_run(manifest(), manifest(**change), FOLDER)
    fewer = {"a/video/0/one": "1111"}
    check_same_run(manifest(checkpoints=fewer), manifest(), FOLDER)
    check_same_run(manifest(), manifest(checkpoints=fewer), FOLDER)
    # runs until 2026-11-29 wrote one head a column, without its task
    check_same_run(manifest(checkpoints={"a/video/0": "1111"}), manifest(), FOLDER)
    with pytest.raises(RunError, match="weights of b/video/0/one"):
        check_same_run(manifest(checkpoints={"b/video/0": "1111"}), manifest(), FOLDER)
    bare = manifest()
    del bare["checkpoints"]
    check_same_run(bare, manifest(), FOLDER)
    del bare["versions"]
    with pytest.raises(RunError, match=r"mujoco None -> 4\.0\.0"):
        check_same_run(bare, manifest(), FOLDER)


# ---- the log of a run that is there ----


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """Three episodes of policy a, the second of which raised."""
    made = RunFolder(tmp_path / "run")
    made.create()
    log = EpisodeLog(made.episodes)
    for episode in range(3):
        error = "fire" if episode == 1 else None
        log.append(row(Cell("one", "a", "video", 0), episode, error is None, error=error))
    log.close()
    write_json(made.manifest, manifest())
    return made


def test_a_run_is_continued_when_asked_and_what_raised_is_tried_again(folder: RunFolder) -> None:
    now = manifest(started="now")
    log = _open_log(plan(until_decided=False), folder, now, resume=True)
    log.close()
    assert [each["episode"] for each in log.rows] == [0, 2]
    assert [each["episode"] for each in folder.read_rows()] == [0, 2]
    assert now["started"] == "then"
    assert len(now["resumed"]) == 1
    write_json(folder.manifest, now)
    before = folder.read_json(folder.manifest)
    del before["started"]  # which is not known any more
    write_json(folder.manifest, before)
    restarted = manifest(started="again")
    _open_log(plan(until_decided=False), folder, restarted, resume=True).close()
    assert restarted["started"] == "again"
    write_json(folder.manifest, now)
    again = manifest(started="later")
    _open_log(plan(until_decided=False), folder, again, resume=True).close()
    assert again["resumed"][0] == now["resumed"][0]
    assert len(again["resumed"]) == 2


def test_a_run_that_is_there_is_not_begun_again(folder: RunFolder) -> None:
    for missing in (folder.manifest, folder.episodes):
        kept = missing.read_bytes()
        missing.unlink()
        with pytest.raises(RunError, match="already holds a run; add --resume"):
            _open_log(plan(until_decided=False), folder, manifest(), resume=False)
        missing.write_bytes(kept)
    before = folder.episodes.read_bytes()
    other = manifest(config=config(seed=4))
    with pytest.raises(RunError, match="different: seed"):
        _open_log(plan(until_decided=False, seed=4), folder, other, resume=True)
    assert folder.episodes.read_bytes() == before


def test_a_new_folder_begins_whether_or_not_it_may_be_continued(tmp_path: Path) -> None:
    for resume in (True, False):
        made = RunFolder(tmp_path / str(resume))
        made.create()
        now = manifest(started="now")
        _open_log(plan(until_decided=False), made, now, resume=resume).close()
        assert now["started"] == "now"
        assert "resumed" not in now


@pytest.fixture
def logs(monkeypatch) -> list[EpisodeLog]:
    """Every log that is opened."""
    opened: list[EpisodeLog] = []

    class Seen(EpisodeLog):
        def __init__(self, path: Path) -> None:
            super().__init__(path)
            opened.append(self)

    monkeypatch.setattr(runner, "EpisodeLog", Seen)
    return opened


def test_a_damaged_manifest_is_not_continued(folder: RunFolder) -> None:
    write_json(folder.manifest, manifest(config=config(alpha=5)))
    said = rf"^{folder.manifest}: config: alpha must be between 0 and 1 \(got 5"
    with pytest.raises(RunError, match=said):
        _open_log(plan(until_decided=False), folder, manifest(), resume=True)


def test_rows_without_a_manifest_are_nobodys(folder: RunFolder, logs: list[EpisodeLog]) -> None:
    folder.manifest.unlink()
    before = folder.episodes.read_bytes()
    with pytest.raises(RunError, match=r"holds rows and no manifest\.json"):
        _open_log(plan(until_decided=False), folder, manifest(), resume=True)
    assert [log._file for log in logs] == [-1], "closed"
    assert folder.episodes.read_bytes() == before
    folder.episodes.write_bytes(b"")  # stopped before the first row
    now = manifest(started="now")
    _open_log(plan(until_decided=False), folder, now, resume=True).close()
    assert now["started"] == "now"


def test_a_run_may_only_grow(folder: RunFolder, logs: list[EpisodeLog]) -> None:
    said = r"holds 1 episodes .* leave out \(one: one a video train seed 0 episode 2\)"
    fewer = plan(until_decided=False, episodes=2)
    before = folder.episodes.read_bytes()
    with pytest.raises(RunError, match=said):
        _open_log(fewer, folder, manifest(config=fewer.resolved()), resume=True)
    assert folder.episodes.read_bytes() == before
    assert [log._file for log in logs] == [-1], "closed"


def test_what_changed_in_a_policy_is_named_in_the_order_of_the_alphabet() -> None:
    old = {"name": "p", "kind": "network", **dict.fromkeys("bdfhaceg", 1)}
    changed = _changes(old, {**old, **dict.fromkeys("bdfhaceg", 2)})
    assert changed == [f"p.{key}" for key in "abcdefgh"]
