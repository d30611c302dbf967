"""Every task is what ``TaskEnv`` promises to runners, recorders and certificates.

mypy reads the first function; the tests look at the members and at a running episode.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
import pytest
from typing_extensions import get_protocol_members

from neon_sim.contracts import TaskEnv, task_of
from neon_sim.envs.arm.block import ArmBlock
from neon_sim.envs.arm.rattle import ArmRattle
from neon_sim.envs.humanoid.balance import HumanoidBalance
from neon_sim.envs.humanoid.follow import HumanoidFollow
from neon_sim.errors import ConfigError, ResetNeededError
from neon_sim.registry import TASKS

# ``body_state`` is for tasks of kind ``state``, ``cues`` and ``fits`` are for sound tasks.
MEMBERS = sorted(get_protocol_members(TaskEnv))


def checked_by_mypy(
    arm: ArmBlock, sound: ArmRattle, state: HumanoidBalance, walking: HumanoidFollow
) -> None:
    """Nothing at run time: mypy refuses a task that does not fit the Protocol."""
    task: TaskEnv = arm
    task = sound
    task = state
    task = walking
    del task


@pytest.mark.parametrize("name", sorted(TASKS))
def test_a_running_task_has_every_member_of_the_contract(name: str) -> None:
    env: Any = gymnasium.make(TASKS[name].env_id, cameras=(), seed=0)
    task = task_of(env)
    task.reset()
    assert [member for member in MEMBERS if not hasattr(task, member)] == []
    assert isinstance(task.latent, Mapping)
    assert (task.CUE == "") == (TASKS[name].kind != "sound")
    assert set(task.latent) >= {task.CUE} - {""}
    _, _, _, info = task.advance(task.hold_action())
    assert set(info) == {"is_success", "progress", "run_seed", "episode_index"}
    assert isinstance(info["progress"], float)
    assert task.agent_pos().shape == (task.proprio_dim,)
    assert task.expert_action().shape == (task.action_dim,)
    assert task.joint_scale.shape == (task.num_joints,)
    task.close()


def test_a_task_has_no_latent_before_its_first_reset() -> None:
    env = ArmBlock(cameras=())
    with pytest.raises(ResetNeededError, match=r"arm_block has no latent before.*reset\(\)"):
        _ = env.latent
    env.reset(seed=0)
    assert set(env.latent) == {"position", "velocity"}
    env.close()


def test_an_environment_of_another_project_is_refused() -> None:
    class Other(gymnasium.Env[np.ndarray, np.ndarray]):
        pass

    with pytest.raises(ConfigError, match=r"use an environment of neon_sim \(got Other\)"):
        task_of(Other())
