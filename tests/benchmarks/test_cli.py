"""The command line: tables, verdicts, certificates, and errors of one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from made_up_runs import made_up_run, oracle_rows

from neon_sim.benchmarks import arguments, cli
from neon_sim.benchmarks.analysis.summary import summarise
from neon_sim.benchmarks.certificates.common import read_certificate
from neon_sim.benchmarks.certificates.visual import TwinCheck, certificate, check_twins, judge
from neon_sim.benchmarks.runs.folder import dump_row
from neon_sim.files import write_whole
from neon_sim.registry import TASKS

main = cli.main
CONDITIONS = ("frame", "video", "video_repeat")


RATES = {
    "arm_reach": {"frame": 0.95, "video": 0.95, "video_repeat": 0.95},
    "arm_catch": {"frame": 0.2, "video": 0.8, "video_repeat": 0.15},
}


def test_compare_prints_rates_tests_and_verdicts(tmp_path, capsys) -> None:
    folder = made_up_run(tmp_path / "run", RATES)
    assert main(["compare", str(folder.path)]) == 0
    shown = capsys.readouterr().out
    assert "arm_catch: video beats frame by 60 points" in shown
    assert "arm_reach: frame and video are equivalent within 10 points" in shown
    assert "Video beats frame on 1 task (arm_catch); the two are equivalent on 1 task" in shown
    assert "48" in shown  # successes of video on arm_catch
    assert "80.0  [68.2, 88.2]" in shown  # its Wilson interval


def test_summary_of_several_training_seeds_resamples_both(tmp_path: Path) -> None:
    folder = made_up_run(tmp_path / "run", RATES, seeds=3)
    columns = [("neon_tiny", word) for word in CONDITIONS]
    summary = summarise(folder.read_rows(), columns, ["arm_catch"])
    cell = summary["tasks"]["arm_catch"]["cells"][1]
    assert cell["train_seeds"] == [0, 1, 2]
    assert cell["n"] == 180
    assert cell["any_time"]["interval"] == cell["any_time"]["cluster"]
    assert [entry["n"] for entry in cell["per_train_seed"]] == [60, 60, 60]
    pair = summary["tasks"]["arm_catch"]["pairs"][0]
    assert pair["interval_method"] == "cluster bootstrap"
    assert pair["interval"][0] > 0.3
    assert len(pair["difference_per_train_seed"]) == 3
    assert pair["p"] < 1e-6
    assert pair["p"] <= pair["p_holm"]


def test_holm_family_is_the_whole_run(tmp_path: Path) -> None:
    folder = made_up_run(tmp_path / "run", RATES)
    columns = [("neon_tiny", word) for word in CONDITIONS]
    summary = summarise(folder.read_rows(), columns, list(RATES))
    pairs = [pair for entry in summary["tasks"].values() for pair in entry["pairs"]]
    assert len(pairs) == 6
    smallest = min(pairs, key=lambda pair: pair["p"])
    assert smallest["p_holm"] == pytest.approx(6 * smallest["p"], rel=1e-9)


def test_two_runs_are_paired_with_each_other(tmp_path, capsys) -> None:
    old = made_up_run(tmp_path / "old", {"arm_catch": {"video": 0.3}})
    new = made_up_run(tmp_path / "new", {"arm_catch": {"video": 0.9}})
    assert main(["compare", str(old.path), str(new.path)]) == 0
    assert "new:neon_tiny beats old:neon_tiny by 60 points" in capsys.readouterr().out
    rows = [{**row, "initial_hash": "elsewhere"} for row in new.read_rows()]
    write_whole(new.episodes, "".join(dump_row(row) + "\n" for row in rows))
    assert main(["compare", str(old.path), str(new.path)]) == 2
    assert "started from different states" in capsys.readouterr().err
    other = made_up_run(tmp_path / "other", {"arm_reach": {"video": 0.9}})
    assert main(["compare", str(old.path), str(other.path)]) == 2
    assert "share no policy, task and episode" in capsys.readouterr().err


def test_verdict_claims_nothing_from_few_episodes(tmp_path, capsys) -> None:
    rates = {"arm_reach": {"frame": 0.9, "video": 0.9}, "arm_catch": {"frame": 0.4, "video": 0.6}}
    folder = made_up_run(tmp_path / "run", rates, episodes=10)
    assert main(["compare", str(folder.path)]) == 0
    shown = capsys.readouterr().out
    assert (
        "n = 10 is too small to decide between frame and video on all tasks (arm_reach, arm_catch)."
        in shown
    )
    assert "too small to decide between frame and video (difference 20 [" in shown
    assert "at this n a difference shows from 70 points on" in shown
    assert "no difference" not in shown.lower()
    assert "equivalent within 10 points (" not in shown
    folder = made_up_run(tmp_path / "enough", rates, episodes=30)
    assert main(["compare", str(folder.path)]) == 0
    shown = capsys.readouterr().out
    assert "arm_catch: undecided between frame and video (" in shown
    assert "at this n a difference shows from" in shown
    assert "too small" not in shown


def test_three_episodes_can_show_nothing(tmp_path, capsys) -> None:
    rates = {"arm_catch": {"frame": 0.0, "video": 1.0}}
    for seeds in (1, 3):
        folder = made_up_run(tmp_path / str(seeds), rates, episodes=3, seeds=seeds)
        assert main(["compare", str(folder.path)]) == 0
        assert "at this n not even the largest difference shows" in capsys.readouterr().out
    same = {"arm_catch": {"frame": 1.0, "video": 1.0}}
    folder = made_up_run(tmp_path / "same", same, episodes=3, seeds=3)
    assert main(["compare", str(folder.path)]) == 0
    assert (
        "n = 3 is too small to decide between frame and video on 1 task (arm_catch)."
        in capsys.readouterr().out
    )


def test_compare_json_is_json(tmp_path, capsys) -> None:
    folder = made_up_run(tmp_path / "run", RATES)
    assert main(["compare", str(folder.path), "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["tasks"]) == set(RATES)


@pytest.mark.parametrize("what", arguments.LISTS)
def test_list_names_what_there_is(what, capsys) -> None:
    assert main(["list", what]) == 0
    expected = {
        "tasks": "arm_catch",
        "policies": "expert",
        "conditions": "video_repeat",
        "backbones": "neon_tiny",
        "suites": "arm",
    }
    assert expected[what] in capsys.readouterr().out


def test_lists_tell_ears_heads_and_certificates(capsys) -> None:
    main(["list", "policies"])
    shown = capsys.readouterr().out
    rows = {line.split()[0]: line for line in shown.splitlines() if line}
    assert "audio=backbone" in shown
    assert "log_mel" in rows["neon_tiny_hear"]
    assert "video_repeat" in rows["neon_tiny"]
    assert rows["qwen_omni_3b"].endswith("  none")
    main(["list", "tasks"])
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "certified temporal (history +49 points)" in rows["arm_catch"]
    assert "certified static" in rows["arm_reach"]
    assert rows["arm_latch"].split()[2:][:5] == ["sound", "arm", "the", "cue", "certified"]
    assert rows["humanoid_balance"].split()[2:] == ["state", "humanoid", "on", "request", "none"]


RUN = ("run", "--episodes", "1", "--videos", "0", "--quiet", "--out", "OUT")


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ((*RUN, "--policy", "nobody"), "unknown policy 'nobody'"),
        ((*RUN, "--policy", "hold", "--task", "arm_cach"), "Did you mean 'arm_catch'"),
        ((*RUN, "--policy", "hold", "--suite", "arms"), "unknown suite config 'arms'"),
        (
            (*RUN, "--policy", "hold", "--workers", "0"),
            "--workers must be 1 to 512",
        ),
        ((*RUN, "--policy", "hold", "--batch", "0"), "--batch must be 1 to 256"),
        ((*RUN, "--policy", "hold", "--executor", "cloud"), "unknown executor"),
        ((*RUN, "--policy", "neon_tiny", "head=flaw"), "unknown head 'flaw'"),
        ((*RUN, "--policy", "neon_tiny", "checkpoint=/no/where"), "no head at /no/where"),
        ((*RUN, "--policy", "no_such_module:make"), "cannot be imported"),
        (("compare", "OUT"), "is no run"),
        (("report", "OUT"), "is no run"),
        (("compare", "a", "b", "c"), "one run or two"),
    ],
)
def test_errors_are_one_line_and_exit_2(tmp_path, capsys, command, text) -> None:
    words = [str(tmp_path / "run") if word == "OUT" else word for word in command]
    assert main(words) == 2
    shown = capsys.readouterr().err.strip()
    assert text in shown
    assert shown.startswith("error: ")
    assert len(shown.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_all_tasks_without_a_head_are_named_at_once_before_anything_runs(tmp_path, capsys) -> None:
    words = ["run", "--policy", "neon_tiny", "--suite", "all", "--out", str(tmp_path / "run")]
    assert main(words) == 2
    shown = capsys.readouterr().err.strip()
    assert len(shown.splitlines()) == 1  # and no progress bar
    assert shown.startswith("error: 12 of 22 tasks have no head: arm_rattle, ")
    assert "python -m neon_sim.collect task=humanoid_reach,humanoid_goalkeeper," in shown
    assert shown.endswith("--task " + ",".join(list(TASKS)[:10]))
    assert not (tmp_path / "run").exists()


def test_unknown_options_are_refused(capsys) -> None:
    assert main(["run", "--policy", "hold", "--out", "x", "--episode", "3", "--what"]) == 2
    assert "--what" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "mend"),
    [
        ("suite=temporal_mechanisms", "--suite temporal_mechanisms"),
        ("policy=hold", "--policy hold"),
        ("train_seeds=0,1", "--train-seeds 0,1"),
    ],
)
@pytest.mark.parametrize("command", ["run", "certify"])
def test_an_option_given_as_a_setting_says_how_it_is_written(command, given, mend, capsys) -> None:
    assert main([command, given, "--out", "x"]) == 2
    told = capsys.readouterr().err
    assert f"is an option and no setting: {mend} (got {given})" in told


def test_key_value_may_stand_anywhere() -> None:
    args = cli.parse(["run", "a=1", "--policy", "hold", "b=2", "--out", "x", "c=3"])
    assert sorted(args.overrides) == ["a=1", "b=2", "c=3"]


@pytest.mark.parametrize("command", sorted(cli.COMMANDS))
def test_help_of_a_command_tells_every_option_and_shows_examples(command, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    examples = shown.partition("examples:")[2].split("neon-bench ")[1:]
    assert examples
    for line in examples:
        assert arguments.parse(line.split()).command == command
    (commands,) = arguments.build_parser()._subparsers._group_actions  # type: ignore[union-attr]
    assert all(action.help for action in commands.choices[command]._actions)  # type: ignore


# ---- certificates ----------------------------------------------------------------------


def test_certify_without_heads_is_incomplete_and_says_the_mend(tmp_path, capsys) -> None:
    command = ["certify", "--task", "arm_block", "--episodes", "2", "--workers", "1", "--quiet"]
    command += ["--run", str(tmp_path / "run"), "--out", str(tmp_path / "certificates")]
    assert main([*command, "checkpoint=nowhere/{condition}.safetensors"]) == 1
    shown = capsys.readouterr().out
    assert "incomplete: oracle_history, oracle_memoryless, blind did not run" in shown
    assert "python -m neon_sim.train" in shown
    body = read_certificate("arm_block", tmp_path / "certificates")
    assert body is not None
    assert body["status"] == "incomplete"
    assert body["entries"]["blind"]["skipped"]
    assert "rate" not in body["entries"]["blind"]
    assert body["entries"]["expert"]["n"] == 2
    assert body["twins"]["holds"]


@pytest.fixture
def known_twins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twins as the tasks have them, without playing them."""
    found = TwinCheck(checked=16, equal=16, differing=16, action_gap=0.3)
    kinds = {name: entry.kind for name, entry in TASKS.items()}
    monkeypatch.setattr(
        "neon_sim.benchmarks.certificates.visual.check_twins",
        lambda task, seed: found if kinds[task] == "temporal" else None,
    )


@pytest.mark.parametrize(
    ("task", "changes", "status", "text"),
    [
        ("arm_catch", {}, "certified", "history oracle +70.0 points"),
        ("arm_catch", {"blind": 0.4}, "refused", "blind 40.0 % (at most 25.0) does not hold"),
        ("arm_catch", {"oracle_history": 0.4}, "refused", "(at least 25) does not hold"),
        ("arm_catch", {"expert": 0.9}, "refused", "expert 90.0 % (at least 95.0) does not hold"),
        ("arm_reach", {"oracle_memoryless": 0.9}, "certified", "equivalent within 5"),
        ("arm_reach", {}, "refused", "not certified as static"),
    ],
)
def test_certificates_are_judged_by_their_rules(known_twins, task, changes, status, text) -> None:
    rates = {
        "expert": 1.0,
        "hold": 0.0,
        "random": 0.0,
        "oracle_history": 0.9,
        "oracle_memoryless": 0.2,
        "blind": 0.1,
    }
    rows = oracle_rows(task, {**rates, **changes})
    body = certificate(rows, task, "neon_tiny", 0, {})
    assert body["status"] == status
    assert text in body["verdict"]
    low, high = body["entries"]["expert"]["clopper_pearson"]
    assert low < body["entries"]["expert"]["rate"] <= high


def test_twins_that_differ_in_sight_refuse_the_certificate(known_twins) -> None:
    rates = {"expert": 1.0, "oracle_history": 0.9, "oracle_memoryless": 0.2, "blind": 0.0}
    body: dict[str, Any] = certificate(oracle_rows("arm_catch", rates), "arm_catch", "x", 0, {})
    body["twins"] |= {"equal": 3, "holds": False}
    assert judge(body)["status"] == "refused"


@pytest.mark.parametrize("task", sorted(TASKS))
def test_twins_of_temporal_tasks_look_alike_and_need_other_actions(task) -> None:
    found = check_twins(task, seed=5, count=2)
    if TASKS[task].kind != "temporal":
        assert found is None
    else:
        assert found is not None
        assert found.holds, found


def test_few_episodes_certify_nothing_and_replace_nothing(known_twins, tmp_path, capsys) -> None:
    rates = {"expert": 1.0, "oracle_history": 1.0, "oracle_memoryless": 0.2}
    rates |= {"blind": 0.1, "hold": 0.0, "random": 0.0}
    few = certificate(oracle_rows("arm_catch", rates, 8), "arm_catch", "neon_tiny", 0, {})
    assert few["status"] == "refused"
    assert "8 episodes (at least 100) does not hold" in few["verdict"]
    many = certificate(oracle_rows("arm_catch", rates), "arm_catch", "neon_tiny", 0, {})
    kept = tmp_path / "arm_catch.json"
    kept.write_text(json.dumps(many))
    command = ["certify", "--task", "arm_catch", "--episodes", "8", "--out", str(tmp_path)]
    assert main([*command, "--run", str(tmp_path / "run")]) != 0
    assert "holds a certificate of 100 episodes" in capsys.readouterr().err
    assert json.loads(kept.read_text()) == many
