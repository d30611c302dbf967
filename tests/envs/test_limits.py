"""Every expert keeps within what its robot can do: joint range and largest velocity."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest

from neon_sim.envs.arm.robot import JOINT_HIGH, JOINT_LOW
from neon_sim.envs.humanoid.robot import joint_table
from neon_sim.registry import TASKS

TOLERANCE_RAD = 1e-3  # a joint's stop is a spring
# Pushes of 10 and 15 N s throw the robot over: where it falls, an ankle bends some mrad beyond its
# range. Its expert only stands, and within the limits where it stays up (test_humanoid_tasks.py).
FALLS = {"humanoid_balance"}
EPISODES = [(name, 0, episode) for name in TASKS if name not in FALLS for episode in (0, 1)]
EPISODES += [("arm_material", 1, 37), ("arm_material", 1, 40)]  # its block pushed back hardest here
EPISODES += [("humanoid_reach", 7, 31), ("humanoid_reach", 1, 31)]  # fingers jammed on the thigh
Envs = Callable[[str], Any]
SILENT: dict[str, Any] = {"cameras": (), "microphones": (), "disable_env_checker": True}


@pytest.fixture(scope="module")
def envs() -> Iterator[Envs]:
    """Environments by name, made when they are first asked for."""
    made: dict[str, Any] = {}

    def get(name: str) -> Any:
        if name not in made:
            made[name] = gymnasium.make(TASKS[name].env_id, **SILENT).unwrapped
        return made[name]

    yield get
    for env in made.values():
        env.close()


def beyond_range(env: Any) -> float:
    """Largest angle in rad by which a joint is outside its range; negative inside."""
    if TASKS[env.NAME].robot == "arm":
        joints, low, high = env.joints(), JOINT_LOW, JOINT_HIGH
    else:
        joints, low, high = env.data.qpos[7:36], joint_table().low, joint_table().high
    return float(np.maximum(low - joints, joints - high).max())


@pytest.mark.parametrize(("name", "seed", "episode"), EPISODES)
def test_the_expert_keeps_within_the_robot_s_limits(
    envs: Envs, name: str, seed: int, episode: int
) -> None:
    env, over, outside = envs(name), False, []
    env.reset(seed=seed, options={"episode": episode})
    while not over:
        _, terminated, truncated, info = env.advance(env.expert_action())
        env.count_limits()
        outside.append(beyond_range(env))
        over = terminated or truncated
    assert info["is_success"]
    assert env.limits.shares()["velocity"].max() == 0.0
    assert max(outside) <= TOLERANCE_RAD


def test_the_material_s_block_is_not_pressed(envs: Envs) -> None:
    """Torque of the wrist was at its limit for 17 % of the time when the tap went deep."""
    shares = []
    for episode in range(4):
        env, over = envs("arm_material"), False
        env.reset(seed=1, options={"episode": episode})
        while not over:
            _, terminated, truncated, _ = env.advance(env.expert_action())
            env.count_limits()
            over = terminated or truncated
        shares.append(env.limits.some_joint()["torque"])
    assert np.mean(shares) < 0.15


@pytest.mark.parametrize(("seed", "episode"), [(7, 31), (1, 31), (2, 24)])
def test_the_reaching_hand_clears_the_thigh(envs: Envs, seed: int, episode: int) -> None:
    """Where fingers jammed on it, a wrist was at its torque limit for up to 75 % of the time."""
    env, over, touched = envs("humanoid_reach"), False, set()
    env.reset(seed=seed, options={"episode": episode})
    while not over:
        _, terminated, truncated, info = env.advance(env.expert_action())
        env.count_limits()
        touched |= {env.model.geom(int(geom)).name for geom in env.data.contact.geom.ravel()}
        over = terminated or truncated
    assert info["is_success"]
    assert not any("thigh" in name for name in touched)
    assert env.limits.some_joint()["torque"] <= 0.1
