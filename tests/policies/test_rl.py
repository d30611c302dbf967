"""Reinforcement learning: what is observed, resuming, learning at all, and playing on the bench."""

from __future__ import annotations

import json
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from neon_sim.benchmarks import balance
from neon_sim.benchmarks.balance import BalanceConfig, compare, text
from neon_sim.benchmarks.cli import main as bench
from neon_sim.envs.humanoid import learned_balance
from neon_sim.envs.humanoid.balance import HumanoidBalance
from neon_sim.envs.humanoid.learned_balance import (
    GAIN_NAMES,
    NUM_BODY,
    OBSERVATION_DIM,
    Reflex,
    ResidualNetwork,
    load_reflex,
    load_residual,
)
from neon_sim.envs.reflex_search import Search
from neon_sim.errors import CheckpointError, ConfigError, UnknownNameError
from neon_sim.observation.batch import observe_row, stack_observations
from neon_sim.policies.ppo.actor import Actor
from neon_sim.policies.ppo.command import describe, learn, main, plan_text
from neon_sim.policies.ppo.env import RL_SEED, TaskEnv, make_env
from neon_sim.policies.ppo.policy import load_ppo
from neon_sim.policies.ppo.settings import RLConfig
from neon_sim.policies.ppo.spec import RLSpec
from neon_sim.policies.ppo.trainer import RLTrainer
from neon_sim.registry import RL_ENVIRONMENTS, TASKS
from neon_sim.tensor_file import read_tensors, write_tensors

RL_ENVIRONMENTS.register("echo", "rl_fakes:Echo")
FORMAT = "neon_sim.rl/1"


def config(out: Path | str = "unused", **changes) -> RLConfig:
    """A run of a few hundred steps."""
    values = {
        "task": "arm_reach",
        "out": str(out),
        "steps": 64,
        "envs": 2,
        "rollout_steps": 16,
        "save_every": 32,
        "batch_size": 16,
        "epochs": 2,
        "hidden": [8],
    }
    made = RLConfig(**{**values, **changes})
    made.validate()
    return made


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A policy of arm_reach on state, trained for a moment."""
    out = tmp_path_factory.mktemp("ppo")
    return learn(config(out), progress=False, command="python -m neon_sim.rl")


# ---- settings -----------------------------------------------------------------------------


def test_help_is_a_table_of_the_settings(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert "python -m neon_sim.rl [key=value ...]" in text
    assert all(word in text for word in ("learning_rate", "velocities", "0.0005"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": ""}, "balance"),
        ({"task": "arm_reech"}, "arm_reach"),
        ({"observe": "sound"}, "pixels"),
        ({"observe": "pixels", "velocities": True}, "num_frames"),
        ({"batch_size": 64}, "envs x rollout_steps = 32"),
        ({"threads": 99999}, "threads must be 0 to"),
        ({"gamma": 1.5}, "gamma must be 0 to 1 .got 1.5"),
        ({"hidden": []}, "hidden must hold 1 to 8 values .got 0"),
        ({"out": ""}, "out=DIR"),
    ],
)
def test_settings_outside_their_rule_are_named(changes, message):
    with pytest.raises((ConfigError, UnknownNameError), match=message):
        config(**changes)


def test_the_command_tells_errors_in_one_line(capsys, tmp_path):
    assert main(["task=arm_reach", f"out={tmp_path}", "learnig_rate=1"]) == 2
    assert "learning_rate" in capsys.readouterr().err


def test_shipped_settings_load():
    from neon_sim.config.loading import config_names, load_config

    for name in config_names("rl"):
        load_config(RLConfig, "rl", name, ["out=unused"])


# ---- what a policy sees and does ------------------------------------------------------------


@pytest.mark.parametrize("observe", ["state", "pixels"])
@pytest.mark.parametrize("task", sorted(TASKS))
def test_every_task_can_be_trained_on(task, observe):
    env = make_env(config(task=task, observe=observe, num_frames=2, image_size=36), 0)
    seen, _ = env.reset()
    assert env.observation_space.contains(seen)
    for _ in range(2):
        seen, reward, _, _, info = env.step(env.action_space.low / 10)
    assert env.observation_space.contains(seen)
    assert np.isfinite(reward)
    assert "is_success" in info
    if observe == "pixels":
        assert seen["pixels"].shape == (6, 36, 36)
        assert seen["pixels"][3:].std() > 2.0, "the newest frame shows nothing"
    env.close()


def test_state_is_what_is_visible_and_velocities_are_how_it_moves():
    env = TaskEnv(config(task="arm_catch", velocities=True), 0)
    env.reset()
    for _ in range(3):
        seen, *_ = env.step(np.zeros(8, dtype=np.float32))
    core, words = env.core, len(env.policy_spec.words)
    np.testing.assert_array_equal(seen[:8], core.agent_pos())
    assert seen[8 : 8 + words].sum() == len(set(core.task_description.split()))
    np.testing.assert_allclose(seen[8 + words :][:16], core.environment_state(), atol=1e-6)
    before = core.environment_state(core.tick - 20)
    motion = (core.environment_state(core.tick) - before) / 0.04
    np.testing.assert_allclose(seen[8 + words + 16 :], motion, atol=1e-3)
    assert np.abs(motion).max() > 0.1


def test_pixels_are_the_frames_of_the_clip():
    env = TaskEnv(config(observe="pixels", num_frames=2, image_size=48), 0)
    env.reset()
    seen, *_ = env.step(np.zeros(8, dtype=np.float32))
    assert isinstance(seen, dict)
    video, _ = env.core.clip(env.policy_spec.clip)
    assert seen["pixels"].shape == (6, 48, 48)
    np.testing.assert_array_equal(seen["pixels"][3:], video[1].transpose(2, 0, 1))
    assert seen["vector"].shape == (8 + len(env.policy_spec.words),)


def test_relative_actions_start_from_the_pose_and_absolute_ones_do_not():
    pose = np.linspace(-1.0, 1.0, 8, dtype=np.float32)[None]
    outputs = np.full((1, 8), 0.5, dtype=np.float32)
    spec = TaskEnv(config(reach=0.2), 0).policy_spec
    actions = spec.actions(outputs, pose)
    np.testing.assert_allclose(actions[0, :7], np.clip(pose[0, :7] + 0.1, -1, 1), atol=1e-6)
    assert actions[0, 7] == 0.5
    absolute = TaskEnv(config(actions="absolute"), 0).policy_spec
    np.testing.assert_array_equal(absolute.actions(outputs, pose), outputs)
    assert np.abs(spec.actions(outputs * 100, pose)).max() == 1.0


def test_blocks_decide_the_episodes():
    first, same, other = (TaskEnv(config(), index) for index in (0, 0, 1))
    places = []
    for env, block in ((first, 3), (same, 3), (other, 3), (same, 4)):
        env.begin_block(block, 0.5)
        places.append(env.reset()[0])
    np.testing.assert_array_equal(places[0], places[1])
    assert (places[0] != places[2]).any()
    assert (places[0] != places[3]).any()
    assert first._seed == RL_SEED


# ---- training -------------------------------------------------------------------------------


def test_ppo_learns_a_toy(tmp_path):
    changes = {"envs": 4, "rollout_steps": 64, "batch_size": 64, "epochs": 6}
    run = config(tmp_path, task="echo", steps=4096, save_every=1024, learning_rate=0.01, **changes)
    path = learn(run, progress=False)
    curve = json.loads(path.with_suffix(".curve.json").read_text())
    returns = [point["return"] for point in curve["points"]]
    assert returns[0] < -1.5
    assert returns[-1] > returns[0] + 1.0
    assert curve["points"][-1]["steps"] == 4096
    assert "4096" in describe(curve)
    print(returns)


def test_a_run_takes_the_steps_asked_for_in_whole_rollouts(tmp_path):
    run = config(tmp_path, task="echo", steps=90, save_every=64)  # rollouts of 32
    assert (run.total_steps, run.num_blocks, run.steps_after(1)) == (96, 2, 64)
    assert "96 actions (steps=90 rounded up) in 3 rollouts of 2 x 16" in plan_text(run)
    path = learn(run, progress=False)
    assert read_tensors(path, FORMAT, "")[1]["steps"] == 96
    curve = json.loads(path.with_suffix(".curve.json").read_text())
    assert [point["steps"] for point in curve["points"]] == [32, 64, 96]
    assert "rounded" not in plan_text(config(steps=64))


@pytest.mark.parametrize("task", ["arm_reach", "balance"])
def test_a_resumed_run_ends_with_the_same_weights(task, tmp_path):
    whole = learn(config(tmp_path / "whole", task=task), progress=False)
    stopped = RLTrainer(config(tmp_path / "parts", task=task), progress=False)

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped.run(stop)
    assert (tmp_path / "parts" / "ppo-seed0-32.safetensors").exists()
    with pytest.raises(CheckpointError, match="--resume"):
        learn(config(tmp_path / "parts", task=task), progress=False)
    parts = learn(config(tmp_path / "parts", task=task, resume=True), progress=False)
    one, two = (read_tensors(path, FORMAT, "")[0] for path in (whole, parts))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    curves = [json.loads(p.with_suffix(".curve.json").read_text()) for p in (whole, parts)]
    assert curves[0]["points"] == curves[1]["points"]
    assert not list((tmp_path / "parts").glob("*.state.pt"))


@pytest.mark.slow
def test_the_number_of_processes_changes_no_weight(tmp_path):
    paths = [
        learn(config(tmp_path / str(workers), workers=workers, steps=32), progress=False)
        for workers in (1, 2)
    ]
    one, two = (read_tensors(path, FORMAT, "")[0] for path in paths)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_run_of_other_settings_is_refused(trained):
    again = config(trained.parent, resume=True)
    assert learn(again, progress=False) == trained
    with pytest.raises(CheckpointError, match=r"gamma = 0.98, this run has 0.9"):
        learn(config(trained.parent, resume=True, gamma=0.9), progress=False)


def test_a_run_may_start_from_an_earlier_policy(trained, tmp_path):
    trainer = RLTrainer(config(tmp_path, init=str(trained)), progress=False)
    state = read_tensors(trained, FORMAT, "")[0]
    name = "mlp_extractor.policy_net.0.weight"
    assert torch.equal(trainer.model.policy.state_dict()[name], state[name])
    with pytest.raises(CheckpointError, match="arm_reach"):
        RLTrainer(config(tmp_path, task="arm_catch", init=str(trained)), progress=False)


# ---- on the bench ---------------------------------------------------------------------------


def test_the_bench_plays_it_with_rows_like_any_other(trained, tmp_path, capsys):
    out = tmp_path / "run"
    words = ["run", "--policy", "ppo,hold", "--task", "arm_reach", "--episodes", "2"]
    words += ["--workers", "1", "--videos", "0", "--quiet", f"checkpoint={trained}"]
    assert bench([*words, "--out", str(out)]) == 0
    rows = [json.loads(line) for line in (out / "episodes.jsonl").read_text().splitlines()]
    mine = [row for row in rows if row["policy"] == "ppo"]
    others = [row for row in rows if row["policy"] == "hold"]
    assert [row["condition"] for row in mine] == ["state", "state"]
    assert {row["initial_hash"] for row in mine} == {row["initial_hash"] for row in others}
    assert mine[0].keys() == others[0].keys()
    assert all(row["error"] is None for row in mine)
    manifest = json.loads((out / "manifest.json").read_text())
    assert list(manifest["checkpoints"]) == ["ppo/state/0/arm_reach"]
    assert bench([*words, "--out", str(out), "--resume"]) == 0
    capsys.readouterr()


def test_training_and_bench_see_and_do_the_same(trained):
    env = TaskEnv(config(), 0)
    seen, _ = env.reset()
    policy = load_ppo(trained, "arm_reach")
    row = observe_row(env.core, policy.clip, policy.needs)
    np.testing.assert_array_equal(policy.spec.observation(row)[0], seen)
    chunk = policy.act(row)
    assert chunk.shape == (1, 16, 8)
    assert (chunk == chunk[:, :1]).all()
    batch = stack_observations([row] * 3)
    np.testing.assert_array_equal(policy.act(batch)[2], chunk[0])


def test_the_balance_is_learned_from_what_the_robot_feels(tmp_path):
    """Pictures and visible positions tell nothing of it; ``agent_pos`` holds no velocity."""
    path = learn(config(tmp_path, task="humanoid_balance", steps=32), progress=False)
    policy, env = load_ppo(path, "humanoid_balance"), TaskEnv(config(task="humanoid_balance"), 0)
    assert policy.spec.condition == "body_state"
    env.reset()
    seen, *_ = env.step(np.full(env.action_space.shape or (), -0.1, dtype=np.float32))
    np.testing.assert_array_equal(seen[:68], env.core.body_state())
    rows = stack_observations([observe_row(env.core, policy.clip, policy.needs)] * 2)
    np.testing.assert_array_equal(policy.spec.observation(rows)[1], seen)
    assert policy.act(rows).shape == (2, 16, 29)


@pytest.mark.parametrize("changes", [{"task": "arm_reach"}, {"observe": "pixels"}])
def test_other_tasks_and_pixels_are_observed_as_before(changes):
    env = TaskEnv(config(**{"task": "humanoid_balance", **changes}), 0)
    spec = env.policy_spec
    assert spec.body_dim == 0
    assert "body" not in spec.needs
    older = {key: value for key, value in spec.to_json().items() if key != "body_dim"}
    assert RLSpec.from_json(older) == spec


def test_pixels_train_and_play(tmp_path):
    changes = {"observe": "pixels", "num_frames": 2, "image_size": 36, "steps": 8}
    changes |= {"rollout_steps": 4, "save_every": 8, "batch_size": 8, "epochs": 1}
    path = learn(config(tmp_path, **changes), progress=False)
    policy = load_ppo(path, "ArmReach")
    env = TaskEnv(config(**changes), 0)
    env.reset()
    chunk = policy.act(observe_row(env.core, policy.clip, policy.needs))
    assert policy.spec.condition == "pixels"
    assert np.isfinite(chunk).all()
    assert np.abs(chunk).max() <= 1.0


def test_a_wrong_checkpoint_names_value_rule_and_mend(trained, tmp_path, capsys):
    command = "python -m neon_sim.rl task=arm_catch"
    with pytest.raises(CheckpointError, match=rf"'arm_reach', not 'arm_catch'.*{command}"):
        load_ppo(trained, "arm_catch")
    with pytest.raises(CheckpointError, match="replan_steps=4, not 2"):
        load_ppo(trained, "arm_reach", replan_steps=2)
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*python -m neon_sim.rl"):
        load_ppo(tmp_path / "none.safetensors", "arm_reach")
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(trained.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="truncated"):
        load_ppo(broken, "arm_reach")
    state, metadata = read_tensors(trained, FORMAT, "")
    write_tensors(broken, state, {**metadata, "format": "other/1"})
    with pytest.raises(CheckpointError, match=r"must be of format 'neon_sim.rl/1' .got 'other/1'"):
        load_ppo(broken, "arm_reach")
    write_tensors(broken, {**state, "log_std": torch.full((8,), torch.nan)}, metadata)
    with pytest.raises(CheckpointError, match=r"log_std.*NaN"):
        load_ppo(broken, "arm_reach")
    write_tensors(broken, {**state, "log_std": torch.zeros(3)}, metadata)
    with pytest.raises(CheckpointError, match=r"must be \(8,\) .got \(3,\)"):
        load_ppo(broken, "arm_reach")
    words = ["run", "--policy", "ppo", "--task", "arm_reach", "--out", str(tmp_path / "x")]
    assert bench(words) == 2
    assert "checkpoint=PATH" in capsys.readouterr().err


# ---- the learned balance --------------------------------------------------------------------


def mirrored_actor() -> Actor:
    """A random actor of the balance's shape."""
    torch.manual_seed(3)
    box = spaces.Box(-5.0, 5.0, (OBSERVATION_DIM,), np.float32)
    actions = spaces.Box(-1.0, 1.0, (NUM_BODY,), np.float32)
    actor = Actor(box, actions, lambda _: 0.0, hidden=[8, 8], mirror=learned_balance.mirror())
    torch.nn.init.normal_(actor.action_net.linear.weight, std=0.1)
    return actor


def test_the_mirrored_actor_treats_sides_alike():
    sides, actor = learned_balance.mirror(), mirrored_actor()
    seen = torch.randn(4, OBSERVATION_DIM)
    places, signs = sides["observation"]
    other = seen[:, places] * torch.tensor(signs, dtype=torch.float32)
    assert torch.equal(other[:, places] * torch.tensor(signs, dtype=torch.float32), seen)
    places, signs = sides["action"]
    mirrored = actor.means(seen)[:, places] * torch.tensor(signs, dtype=torch.float32)
    torch.testing.assert_close(actor.means(other), mirrored)
    torch.testing.assert_close(actor.predict_values(other), actor.predict_values(seen))


def test_the_body_runs_the_network_that_was_trained():
    actor = mirrored_actor()
    state = {name: tensor.numpy() for name, tensor in actor.state_dict().items()}
    network = ResidualNetwork(state, "here")
    seen = np.random.default_rng(0).normal(size=OBSERVATION_DIM).astype(np.float32)
    wanted = np.clip(actor.means(torch.from_numpy(seen[None])).numpy()[0], -1, 1)
    np.testing.assert_allclose(network(seen), wanted, atol=1e-5)
    with pytest.raises(CheckpointError, match="action_net"):
        ResidualNetwork({k: v for k, v in state.items() if "action_net" not in k}, "here")


def test_a_residual_of_another_task_is_refused(trained):
    with pytest.raises(CheckpointError, match="'arm_reach', not 'balance'"):
        load_residual(str(trained))


def random_reflex() -> Reflex:
    rng = np.random.default_rng(1)
    return Reflex({name: float(rng.normal()) for name in GAIN_NAMES})


def test_the_reflex_treats_sides_alike_and_bends_at_the_hips():
    reflex, sides = random_reflex(), learned_balance.mirror()
    seen = np.random.default_rng(0).normal(size=OBSERVATION_DIM)
    (seen_places, seen_signs), (places, signs) = sides["observation"], sides["action"]
    other = reflex(seen[seen_places] * seen_signs)
    np.testing.assert_allclose(other, reflex(seen)[places] * signs)
    assert not reflex(np.zeros(OBSERVATION_DIM)).any()
    seen[5:9] = [0.2, 0.0, 0.0, 0.0]  # 2 cm ahead: asleep
    assert not reflex(seen).any()
    seen[5:9] = [1.0, 0.0, 0.0, 0.0]  # 0.1 m ahead: all awake
    turned = reflex(seen)
    np.testing.assert_allclose(turned[[0, 6]], 0.1 * reflex.gains["forward_hip"])
    assert turned[14] == pytest.approx(0.1 * reflex.gains["forward_waist"])


def test_gains_that_lack_one_are_refused(tmp_path):
    path = tmp_path / "reflex.json"
    path.write_text(json.dumps({"gains": {"side_hip": 0.0}}))
    with pytest.raises(CheckpointError, match=r"forward_hip.*reflex_search"):
        load_reflex(str(path))


def test_the_search_climbs_and_goes_on_where_it_was():
    def score(place: np.ndarray) -> float:
        return -float(np.square(place - 1.0).sum())

    whole, first, second = (Search(4, 10, seed=0) for _ in range(3))
    for _ in range(30):
        whole.generation(score)
    assert score(np.array(whole.state["mean"])) > -0.1
    for _ in range(15):
        first.generation(score)
    second.state = json.loads(json.dumps(first.state))
    for _ in range(15):
        second.generation(score)
    assert second.state == json.loads(json.dumps(whole.state))


def last_step(lower: str, direction: float, impulse: float) -> int:
    """Control step in which a push has made the robot fall; 250 when it stands to the end."""
    env = gymnasium.make(
        TASKS["humanoid_balance"].env_id, cameras=(), lower=lower, disable_env_checker=True
    ).unwrapped
    assert isinstance(env, HumanoidBalance)
    latent = {"impulse": impulse, "directions": [direction, direction], "steps": [10, 120]}
    env.reset(seed=0, options={"latent": latent})
    action, over = env.expert_action(), False
    while not over:
        _, terminated, truncated, _ = env.advance(action)
        over = terminated or truncated
    return env.control_step


@pytest.mark.parametrize("direction", [0.0, 3.14159])
def test_the_reflex_stands_where_the_ankles_alone_fall(direction):
    assert last_step("standing", direction, 11.0) < 250
    assert last_step("reflex", direction, 11.0) == 250


@pytest.mark.parametrize("direction", [0.0, -3.14159])
def test_the_learned_residual_stands_where_the_reflex_falls(direction):
    assert last_step("standing", direction, 13.0) < 250
    assert last_step("reflex", direction, 13.0) < 250
    assert last_step("learned", direction, 13.0) == 250


def test_the_balance_table_is_paired():
    rows = compare(BalanceConfig(impulses=[5.0], episodes=2), progress=False)
    assert [row["lower"] for row in rows] == ["standing", "reflex", "learned"]
    assert [row["survived"] for row in rows] == [2, 2, 2]
    assert rows[1]["difference"] == 0.0
    assert "95 % interval" in text(rows)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"episodes": 0}, "episodes must be 1 to 1000000, a whole number .got 0"),
        ({"lower": []}, "lower must name one or more"),
        (
            {"lower": ["standing", "base"]},
            "lower must be one of learned, reflex, standing .*got 'base'",
        ),
        ({"impulses": [5.0, -1.0]}, "impulses must be 0 to 1000 .got -1.0"),
    ],
)
def test_the_balance_refuses_before_it_pushes(changes, said):
    with pytest.raises(ConfigError, match=said):
        BalanceConfig(**changes).validate()


def test_the_balance_stops_in_one_line(monkeypatch, capsys):
    def interrupted(config):
        raise KeyboardInterrupt

    monkeypatch.setattr(balance, "compare", interrupted)
    assert balance.main([]) == 130
    assert "stopped" in capsys.readouterr().err
