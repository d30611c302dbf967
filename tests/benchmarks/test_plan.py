"""What a command line means: who plays what, on which tasks and episodes, and what is refused."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from neon_sim.benchmarks.runs import plan as plan_module
from neon_sim.benchmarks.runs.plan import (
    Cell,
    PolicySpec,
    RunOptions,
    RunPlan,
    check_swaps,
    make_plan,
    plan_of,
    policy_names,
    split_overrides,
    swaps_sound,
)
from neon_sim.benchmarks.runs.suites import load_suite
from neon_sim.config import ClipConfig, PolicyConfig, config_names, load_config
from neon_sim.errors import ConfigError, NeonError, RunError, UnknownNameError

OWN = "robots.mine:policy"
TWO_TASKS = ("arm_reach", "arm_catch")


def words(*policies: str, **changes: Any) -> RunPlan:
    """The plan of a command line."""
    values: dict[str, Any] = {
        "policies": policies,
        "conditions": (),
        "tasks": ("arm_catch",),
        "suite": None,
        "episodes": 6,
        "seed": 3,
        "train_seeds": (0,),
        "latency_steps": 2,
        "until_decided": False,
        "alpha": 0.05,
        "overrides": (),
    }
    return make_plan(**{**values, **changes})


def specs(*policies: str, **changes: Any) -> list[tuple[str, str, tuple[str, ...], Any]]:
    """(name, kind, conditions, train seeds) of each policy of a command line."""
    found = words(*policies, **changes).policies
    return [(spec.name, spec.kind, spec.conditions, spec.train_seeds) for spec in found]


# ---- what there is to run ----


def test_a_plan_is_every_policy_under_every_condition_with_every_training_seed() -> None:
    a = PolicySpec("a", "network", ("frame", "video"), (0, 7))
    hold = PolicySpec("hold", "scripted", ("scripted",), (None,))
    plan = RunPlan((a, hold), TWO_TASKS, 5)
    assert plan.columns() == [("a", "frame"), ("a", "video"), ("hold", "scripted")]
    assert list(plan.cells("arm_catch")) == [
        (a, Cell("arm_catch", "a", "frame", 0)),
        (a, Cell("arm_catch", "a", "frame", 7)),
        (a, Cell("arm_catch", "a", "video", 0)),
        (a, Cell("arm_catch", "a", "video", 7)),
        (hold, Cell("arm_catch", "hold", "scripted", None)),
    ]


def test_what_a_plan_does_not_say_is_the_plain_run() -> None:
    plan = RunPlan((PolicySpec("a", "network", ("video",), (0,)),), ("arm_catch",), 5)
    assert (plan.seed, plan.latency_steps, plan.until_decided, plan.alpha) == (0, 0, False, 0.05)
    assert plan.options == RunOptions(None, "none", "primitive", 0.0, "", "")
    (spec,) = plan.policies
    assert (spec.checkpoint, spec.replan_steps, spec.latency_steps) == (None, None, None)
    assert spec.config == PolicyConfig()


def test_a_command_line_is_a_plan() -> None:
    found = words(
        "neon_tiny",
        "hold",
        conditions=("frame", "video"),
        tasks=("arm_reach", "ArmCatch", "arm_reach"),
        train_seeds=[4, 1],
        until_decided=True,
        alpha=0.01,
        overrides=("robot=menagerie", "replan_steps=8", "blending=linear"),
    )
    config = PolicyConfig(replan_steps=8)
    assert found == RunPlan(
        policies=(
            PolicySpec("neon_tiny", "network", ("frame", "video"), (4, 1), config),
            PolicySpec("hold", "scripted", ("scripted",), (None,)),
        ),
        tasks=TWO_TASKS,
        episodes=6,
        seed=3,
        latency_steps=2,
        options=RunOptions(robot="menagerie", blending="linear"),
        until_decided=True,
        alpha=0.01,
    )


def test_where_nothing_is_named_the_suite_says_it(tmp_path: Path) -> None:
    arm = load_suite("arm")
    plain = words("hold", tasks=(), episodes=None)
    assert (plain.tasks, plain.episodes) == (tuple(arm.tasks), arm.episodes)
    own = tmp_path / "own.yaml"
    own.write_text("tasks: [arm_swing, arm_reach]\nepisodes: 9\npolicies: [random, hold]\n")
    found = words(tasks=(), suite=str(own), episodes=None)
    assert (found.tasks, found.episodes) == (("arm_swing", "arm_reach"), 9)
    assert [spec.name for spec in found.policies] == ["random", "hold"]
    assert words("expert", tasks=(), suite=str(own)).columns() == [("expert", "scripted")]
    assert words("hold", tasks=(), suite=str(own)).episodes == 6
    assert words("hold", episodes=None).episodes == arm.episodes, "of tasks by name too"
    with pytest.raises(ConfigError, match="give --task or --suite, not both"):
        words("hold", suite="arm")
    with pytest.raises(ConfigError, match=r"--policy names no policy\. Known: .*neon_tiny"):
        words()


@pytest.mark.parametrize(
    ("key", "value", "least"),
    [("--episodes", 0, 1), ("--seed", -1, 0), ("--latency-steps", -1, 0)],
)
def test_numbers_of_a_run_have_a_least_value(key: str, value: int, least: int) -> None:
    name = key.strip("-").replace("-", "_")
    with pytest.raises(ConfigError, match=rf"^{key} must be at least {least} \(got {value}\)$"):
        words("hold", **{name: value})
    assert getattr(words("hold", **{name: least}), name) == least


@pytest.mark.parametrize(("alpha", "good"), [(0, False), (1e-6, True), (0.999, True), (1, False)])
def test_a_level_lies_between_0_and_1(alpha: float, good: bool) -> None:
    if good:
        assert words("hold", alpha=alpha).alpha == alpha
        return
    with pytest.raises(ConfigError, match=rf"--alpha must be between 0 and 1 \(got {alpha}\)"):
        words("hold", alpha=alpha)


def test_stopping_early_needs_two_columns() -> None:
    with pytest.raises(ConfigError, match="--until-decided compares the first two columns"):
        words("hold", until_decided=True)
    assert words("neon_tiny", conditions=("frame", "video"), until_decided=True).until_decided
    assert len(words("hold", "random", until_decided=True).columns()) == 2


# ---- who plays ----


def test_scripted_policies_have_no_condition_and_no_training() -> None:
    found = specs("expert", "hold", "random", conditions=("frame",), train_seeds=(1, 2))
    assert found == [(name, "scripted", ("scripted",), (None,)) for name in
                     ("expert", "hold", "random")]  # fmt: skip


def test_oracles_are_conditions_of_the_policy_whose_heads_they_use() -> None:
    for word in ("oracle_memoryless", "oracle_history"):
        (found,) = words(word, conditions=("frame",), train_seeds=(1,)).policies
        assert (found.name, found.kind, found.conditions) == ("neon_tiny", "network", (word,))
        assert (found.train_seeds, found.checkpoint) == ((1,), None)
        assert found.config == PolicyConfig()
    (own,) = words("oracle_history", overrides=("replan_steps=2", "checkpoint=x")).policies
    assert (own.config.replan_steps, own.checkpoint) == (2, "x")


def test_one_policy_named_several_times_is_one_with_all_the_conditions() -> None:
    found = specs("oracle_history", "neon_tiny", "hold", "oracle_history", train_seeds=(0, 1))
    assert found == [
        ("neon_tiny", "network", ("oracle_history", "video"), (0, 1)),
        ("hold", "scripted", ("scripted",), (None,)),
    ]
    assert specs("neon_tiny", "oracle_history")[0][2] == ("video", "oracle_history")
    assert specs("neon_tiny", "neon_tiny") == specs("neon_tiny")
    twice = specs("neon_tiny", conditions=("frame", "video", "frame"))
    assert twice == [("neon_tiny", "network", ("frame", "video"), (0,))]
    again = specs("neon_tiny", "oracle_history", conditions=("oracle_history", "frame"))
    assert again[0][2] == ("oracle_history", "frame")


def test_two_policies_of_one_name_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text("name: neon_tiny\nreplan_steps: 8\n")
    with pytest.raises(ConfigError, match="two different policies are called 'neon_tiny'"):
        words("neon_tiny", str(other))


def test_a_network_runs_under_the_conditions_named_or_its_own(tmp_path: Path) -> None:
    assert specs("neon_tiny", train_seeds=[2]) == [("neon_tiny", "network", ("video",), (2,))]
    assert specs("neon_tiny", overrides=("condition=stack",))[0][2] == ("stack",)
    (found,) = words("neon_tiny_flow", overrides=("checkpoint=x/{task}", "replan_steps=3")).policies
    assert (found.name, found.checkpoint) == ("neon_tiny_flow", "x/{task}")
    assert (found.config.head, found.config.replan_steps) == ("flow", 3)
    for suffix in ("yaml", "yml"):
        own = tmp_path / f"own.{suffix}"
        own.write_text("name: mine\ncondition: frame\n")
        assert specs(str(own)) == [("mine", "network", ("frame",), (0,))]
    with pytest.raises(UnknownNameError, match=r"policy 'neon_tinny'.*neon_tiny"):
        words("neon_tinny")
    with pytest.raises(UnknownNameError, match=r"condition 'videos'.*video"):
        words("neon_tiny", conditions=("frame", "videos"))


def test_the_room_for_tokens_is_held_under_every_condition_that_runs(tmp_path: Path) -> None:
    """One frame has 144 tokens here and eight frames 288, beside 16 words and the body's one."""
    tight = tmp_path / "tight.yaml"
    tight.write_text("name: tight\nfusion: sequence\nmax_tokens: 161\ncondition: frame\n")
    assert specs(str(tight)) == [("tight", "network", ("frame",), (0,))]
    for conditions in (("stack",), ("frame", "stack")):
        with pytest.raises(ConfigError, match=r"max_tokens must be at least 305 .*'stack'"):
            words(str(tight), conditions=conditions)
    narrow = ("fusion=sequence", "max_tokens=100", "condition=blind")
    assert specs("oracle_memoryless", overrides=narrow)[0][2] == ("oracle_memoryless",)
    with pytest.raises(ConfigError, match=r"max_tokens must be at least 145 .*'oracle_history'"):
        words("oracle_history", overrides=narrow)


def test_a_policy_of_ones_own_is_called_as_it_is_named() -> None:
    assert specs(OWN, train_seeds=(1, 2)) == [(OWN, "factory", ("video",), (1, 2))]
    assert specs(OWN, conditions=("frame", "stack"))[0][2] == ("frame", "stack")
    assert specs(OWN, overrides=("condition=blind",))[0][2] == ("blind",)
    (found,) = words(OWN, overrides=("replan_steps=9",)).policies
    assert (found.config, found.checkpoint) == (PolicyConfig(replan_steps=9), None)
    with pytest.raises(UnknownNameError, match="condition 'videos'"):
        words(OWN, conditions=("videos",))


@pytest.mark.parametrize(
    ("setting", "lost"),
    [("head=flow", "head=flow"), ("checkpoint=x", "checkpoint=x"), ("clip.fps=5", "clip.fps=5")],
)
def test_a_setting_that_would_reach_nobody_is_refused(setting: str, lost: str) -> None:
    said = rf"^{lost} does not reach {OWN}, a policy of your own"
    for policies in ((OWN,), ("hold", OWN)):
        with pytest.raises(ConfigError, match=said):
            words(*policies, overrides=("replan_steps=2", "condition=frame", setting))
    assert len(words(OWN, "neon_tiny", overrides=(setting,)).policies) == 2
    if not setting.startswith("checkpoint"):
        with pytest.raises(ConfigError, match=f"{lost} is for a policy with a network"):
            words("hold", "random", overrides=(setting,))


def test_the_runs_own_settings_reach_everybody() -> None:
    for policy in ("hold", OWN):
        found = words(policy, overrides=("start_noise=0.1", "robot=menagerie"))
        assert found.options == RunOptions(start_noise=0.1, robot="menagerie")


def test_a_mode_of_the_humanoid_is_none_of_the_arm() -> None:
    for setting in ("mode=whole_body", "lower=harness"):
        with pytest.raises(ConfigError, match="is a setting of the humanoid, and arm_catch"):
            words("hold", overrides=(setting,))
    found = words("hold", tasks=("humanoid_reach",), overrides=("mode=arms", "lower=harness"))
    assert (found.options.mode, found.options.lower) == ("arms", "harness")


def test_policies_that_can_be_named() -> None:
    names = policy_names()
    assert names == sorted(names)
    assert set(names) == {
        "expert", "hold", "random", "oracle_memoryless", "oracle_history", "ppo",
        *config_names("policy"),
    }  # fmt: skip


def test_where_no_policy_is_named_one_that_ships_plays_and_hears_what_is_to_be_heard() -> None:
    names = (plan_module.DEFAULT_POLICY, plan_module.LISTENER)
    assert {*names} <= {*config_names("policy")}
    seen, heard = (load_config(PolicyConfig, "policy", name, []) for name in names)
    assert seen == PolicyConfig()
    assert seen.audio == "none" != heard.audio


# ---- a policy of `python -m neon_sim.rl` ----


# What ``load_ppo`` gives of a checkpoint that sees velocities and holds its actions for 7 steps.
TRAINED = SimpleNamespace(spec=SimpleNamespace(condition="state_velocities"), replan_steps=7)


@pytest.fixture
def loads(monkeypatch) -> list[tuple[Any, ...]]:
    """What was asked of ``load_ppo``, which reads no file here (``test_rl.py`` does)."""
    asked: list[tuple[Any, ...]] = []

    def load(path: str, task: str, replan_steps: int | None) -> Any:
        asked.append((path, task, replan_steps))
        return TRAINED

    parts = {"load_ppo": load}
    resolve = plan_module.POLICY_PARTS.resolve

    class Parts:
        def resolve(self, name: str) -> Any:
            return parts.get(name) or resolve(name)

    monkeypatch.setattr(plan_module, "POLICY_PARTS", Parts())
    return asked


def test_what_rl_trained_plays_as_its_checkpoint_says(loads) -> None:
    template = "checkpoint=rl/{task}-{train_seed}-{policy}-{condition}"
    found = words("ppo", tasks=TWO_TASKS, train_seeds=[4, 5], overrides=(template,))
    assert loads == [("rl/arm_reach-4-ppo-state", "arm_reach", None)]
    (spec,) = found.policies
    assert (spec.name, spec.kind, spec.conditions) == ("ppo", "ppo", ("state_velocities",))
    assert spec.train_seeds == (4, 5)
    assert spec.checkpoint == template.partition("=")[2]
    assert spec.config == PolicyConfig(replan_steps=7)
    cell = Cell("arm_catch", "ppo", "state_velocities", 5)
    assert spec.checkpoint_of(cell) == "rl/arm_catch-5-ppo-state_velocities"


def test_how_long_it_holds_an_action_may_be_asked_for(loads) -> None:
    words("ppo", overrides=("checkpoint=x", "replan_steps=2", "condition=frame"))
    words("ppo", overrides=("checkpoint=x", "condition=frame"))
    assert loads == [("x", "arm_catch", 2), ("x", "arm_catch", None)]


def test_no_weights_of_rl_ship(loads) -> None:
    with pytest.raises(ConfigError, match=r"'ppo' ships no weights.*rl task=arm_catch out=DIR"):
        words("ppo")
    assert loads == []


# ---- settings of a run ----


def test_settings_of_the_run_are_told_from_those_of_policies() -> None:
    options, rest = split_overrides(["robot=menagerie", "clip.fps=5", "checkpoint=x", "head=flow",
                                     "backbone.model_id=/m"])  # fmt: skip
    assert options == RunOptions(checkpoint="x", robot="menagerie")
    assert rest == ["clip.fps=5", "head=flow", "backbone.model_id=/m"]
    assert split_overrides([]) == (RunOptions(), [])
    deep = ["clip.fps.x=5"]  # what is wrong below a known word, the policy's settings explain
    assert split_overrides(deep)[1] == deep
    with pytest.raises(UnknownNameError, match=r"key 'haed'.*head"):
        split_overrides(["robot=menagerie", "haed=flow"])
    with pytest.raises(ConfigError, match="start_noise"):
        split_overrides(["start_noise=2"])
    with pytest.raises(ConfigError, match="is not key=value"):
        split_overrides(["robot"])


@pytest.mark.parametrize(
    ("setting", "value", "error"),
    [
        ("robot", "kuka", UnknownNameError),
        ("blending", "cubic", UnknownNameError),
        ("checkpoint", "", ConfigError),
        ("checkpoint", "  ", ConfigError),
        ("start_noise", -0.01, ConfigError),
        ("start_noise", 1.01, ConfigError),
        ("start_noise", float("nan"), ConfigError),
    ],
)
def test_a_setting_of_a_run_has_its_rule(setting: str, value: Any, error: type[NeonError]) -> None:
    with pytest.raises(error, match=setting):
        RunOptions(**{setting: value}).validate()


def test_good_settings_of_a_run_are_taken() -> None:
    for options in (
        RunOptions(),
        RunOptions(checkpoint="x", blending="linear", robot="menagerie", start_noise=1.0),
    ):
        options.validate()


# ---- which head ----


def test_a_template_names_the_head_of_a_cell() -> None:
    spec = PolicySpec("p@replan8", "network", ("repeat_at_test",), (4,), checkpoint=None)
    cell = Cell("arm_catch", "p@replan8", "repeat_at_test", 4)
    assert spec.checkpoint_of(cell) is None
    spec = replace(spec, checkpoint="x/{policy}/{condition}/{task}/{train_seed}")
    # it is disturbed in the test alone, so its head is the one trained on the true clip
    assert spec.checkpoint_of(cell) == "x/p/video/arm_catch/4"
    assert replace(spec, checkpoint="plain").checkpoint_of(cell) == "plain"
    for odd in ("{seed}", "{}", "{", "{task!x}"):
        with pytest.raises(ConfigError, match="place holders are"):
            replace(spec, checkpoint=odd).checkpoint_of(cell)


# ---- sound of another episode ----


def test_only_a_sound_task_has_a_cue_to_swap() -> None:
    assert swaps_sound("swap_audio_at_test")
    assert not any(map(swaps_sound, ("video", "mute_at_test", "scripted", "state_velocities")))
    swap = PolicySpec("p", "network", ("video", "swap_audio_at_test"), (0,))
    plain = PolicySpec("p", "network", ("video", "muted"), (0,))
    check_swaps(RunPlan((swap,), ("arm_rattle",), 1))
    check_swaps(RunPlan((plain,), TWO_TASKS, 1))
    said = r"condition swap_audio_at_test swaps the cue of a sound task \(got arm_catch\)"
    with pytest.raises(ConfigError, match=said):
        check_swaps(RunPlan((swap,), ("arm_rattle", "arm_catch"), 1))
    with pytest.raises(ConfigError, match=r"got arm_reach, arm_catch"):
        words("neon_tiny_hear", tasks=TWO_TASKS, conditions=("swap_audio_at_test",))


# ---- a plan on disk ----

WHOLE = RunPlan(
    policies=(
        PolicySpec("hold", "scripted", ("scripted",), (None,), replan_steps=2, latency_steps=3),
        PolicySpec(
            "net",
            "network",
            ("frame", "video"),
            (0, 4),
            PolicyConfig(head="flow", clip=ClipConfig(num_frames=3)),
            "x/{task}",
        ),
        PolicySpec(OWN, "factory", ("video",), (0,), PolicyConfig(replan_steps=9)),
        PolicySpec("ppo", "ppo", ("state",), (0,), PolicyConfig(replan_steps=1), "rl"),
    ),
    tasks=TWO_TASKS,
    episodes=7,
    seed=3,
    latency_steps=2,
    options=RunOptions(start_noise=0.1, robot="menagerie"),
    until_decided=True,
    alpha=0.01,
)


def on_disk(**changes: Any) -> dict[str, Any]:
    """``config`` of a manifest, as JSON gives it."""
    return {**json.loads(json.dumps(WHOLE.resolved())), **changes}


def test_a_manifest_holds_what_decides_the_rows_and_nothing_else() -> None:
    found = on_disk()
    assert WHOLE.resolved() == found, "JSON values, as a run that is continued compares them"
    hold, net, own, ppo = found.pop("policies")
    assert found == {
        "tasks": ["arm_reach", "arm_catch"],
        "episodes": 7,
        "seed": 3,
        "latency_steps": 2,
        "options": asdict(WHOLE.options),
        "until_decided": True,
        "alpha": 0.01,
    }
    assert hold == {
        "name": "hold",
        "kind": "scripted",
        "conditions": ["scripted"],
        "train_seeds": [None],
        "replan_steps": 2,
        "latency_steps": 3,
    }
    assert (net["config"], net["checkpoint"]) == (asdict(WHOLE.policies[1].config), "x/{task}")
    assert (net["conditions"], net["train_seeds"]) == (["frame", "video"], [0, 4])
    assert (own["config"], "checkpoint" in own) == ({"replan_steps": 9}, False)
    assert (ppo["config"]["replan_steps"], ppo["checkpoint"]) == (1, "rl")


def test_a_plan_comes_back_from_its_manifest() -> None:
    assert plan_of(on_disk()) == WHOLE


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"alpha": 0}, r"alpha must be between 0 and 1 \(got 0"),
        ({"alpha": 1}, "alpha must be between 0 and 1"),
        ({"episodes": 0}, r"episodes must be at least 1 \(got 0\)"),
        ({"seed": -1}, r"seed must be at least 0 \(got -1\)"),
        ({"latency_steps": -1}, r"latency_steps must be at least 0 \(got -1\)"),
        ({"tasks": []}, "tasks must be some, each once"),
        ({"tasks": ["arm_reach", "arm_reach"]}, "tasks must be some, each once"),
        ({"policies": []}, "policies must be some, each once"),
    ],
)
def test_a_manifest_that_breaks_a_rule_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(RunError, match=rf"^here: config: {said}.*; restore the manifest"):
        plan_of(on_disk(**change), "here")


@pytest.mark.parametrize(
    "change",
    [{"alpha": 0.999}, {"alpha": 1e-9}, {"episodes": 1}, {"seed": 0}, {"latency_steps": 0}],
)
def test_a_manifest_within_its_rules_is_taken(change: dict[str, Any]) -> None:
    assert plan_of(on_disk(**change)) == replace(WHOLE, **change)


@pytest.mark.parametrize(
    ("which", "change", "said"),
    [
        (0, {"kind": "script"}, "kind of hold must be one of .*'scripted', .*got script"),
        (1, {"train_seeds": []}, "train_seeds of net must be some, each once"),
        (1, {"train_seeds": [4, 4]}, "train_seeds of net must be some, each once"),
        (1, {"conditions": []}, "conditions of net must be some, each once"),
        (1, {"conditions": ["video", "video"]}, "conditions of net must be some, each once"),
        (1, {"conditions": ["video", "wide"]}, r"net names conditions that nobody knows \(\['wide"),
        (1, {"conditions": ["state_velocities"]}, "net names conditions that nobody knows"),
        (3, {"conditions": ["video"]}, "ppo names conditions that nobody knows"),
        (3, {"name": "net"}, "policies must be some, each once"),
    ],
)
def test_a_policy_of_a_manifest_has_its_rules(which: int, change: dict, said: str) -> None:
    body = on_disk()
    body["policies"][which] |= change
    with pytest.raises(RunError, match=rf"manifest\.json: config: {said}"):
        plan_of(body)


@pytest.mark.parametrize("seen", ["state", "pixels", "body_state"])
@pytest.mark.parametrize("more", ["", "_velocities"])
def test_what_rl_policies_see_is_known_in_a_manifest(seen: str, more: str) -> None:
    body = on_disk()
    body["policies"][3]["conditions"] = [seen + more]
    assert plan_of(body).policies[3].conditions == (seen + more,)


def test_a_manifest_of_another_shape_is_refused() -> None:
    strange: list[dict[str, Any]] = [
        {"seed": "3"}, {"until_decided": "false"}, {"policies": {}}, {"options": 1},
    ]  # fmt: skip
    for change in strange:
        with pytest.raises(RunError, match=r"here: config: .*; restore the manifest"):
            plan_of(on_disk(**change), "here")
    odd = on_disk()
    odd["policies"][1]["config"]["clip"]["frames"] = 3
    odd_option = on_disk(options={**on_disk()["options"], "gravity": 1})
    missing = on_disk()
    del missing["latency_steps"]
    for body in (odd, odd_option, missing):
        with pytest.raises(RunError, match=r"here: config.*; restore the manifest"):
            plan_of(body, "here")


def test_a_manifest_of_before_a_setting_has_its_default() -> None:
    body = on_disk()
    del body["policies"][1]["config"]["clip"]["refresh_steps"]
    del body["policies"][1]["config"]["audio"]
    del body["policies"][0]["replan_steps"]
    found = plan_of(body).policies
    assert found[1] == WHOLE.policies[1]
    assert found[0].replan_steps is None
    del body["policies"][1]["config"]["clip"]
    assert plan_of(body).policies[1].config.clip == ClipConfig()
