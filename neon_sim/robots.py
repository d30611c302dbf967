"""What the ground knows of robots: the names of their numbers, of their action modes and groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from neon_sim.errors import CheckpointError, ConfigError, unknown_name
from neon_sim.registry import LOWER_BODIES, task_entry

_LEG = ("hip_pitch", "hip_roll", "hip_yaw", "knee", "ankle_pitch", "ankle_roll")
_ARM = (
    *("shoulder_pitch", "shoulder_roll", "shoulder_yaw", "elbow"),
    *("wrist_roll", "wrist_pitch", "wrist_yaw"),
)
_LEGS = tuple(f"{side}_{name}" for side in ("left", "right") for name in _LEG)
_WAIST = tuple(f"waist_{name}" for name in ("yaw", "roll", "pitch"))
_ARMS = tuple(f"{side}_{name}" for side in ("left", "right") for name in _ARM)
_BODY = (*_LEGS, *_WAIST, *_ARMS)
_BASE = ("vx", "vy", "yaw_rate")
_ARM_JOINTS = tuple(f"joint{i}" for i in range(1, 8))

MODELS = ("primitive", "menagerie")  # our own geoms, or the published meshes


@dataclass(frozen=True)
class Robot:
    """Names of a robot's numbers.

    Attributes:
        dataset_type: LeRobot's ``robot_type``.
        state: of ``agent_pos``. joints: all its joints, in order.
        rest: what an action may set besides joints, after them. rest_name: all of it.
        modes: action modes, and how many numbers an action has in each.
        parts: names of each group of an action's numbers, in their order.
    """

    dataset_type: str
    state: tuple[str, ...]
    joints: tuple[str, ...]
    rest: tuple[str, ...]
    rest_name: str
    modes: dict[str, int]
    parts: dict[str, tuple[str, ...]]

    @property
    def action_dims(self) -> tuple[int, ...]:
        """Lengths an action may have."""
        return tuple(self.modes.values())

    def num_joints(self, action_dim: int) -> int:
        """How many of an action's numbers are joints; the first ones.

        Raises:
            ConfigError: the robot takes no action of that length.
        """
        if action_dim not in self.action_dims:
            raise ConfigError(
                f"an action of {self.dataset_type} must have one of {self.action_dims} numbers "
                f"(got {action_dim})"
            )
        return action_dim if action_dim == len(self.joints) else action_dim - len(self.rest)

    def action(self, action_dim: int) -> tuple[str, ...]:
        """Names of an action of that length: the last joints of the robot, and the rest.

        Raises:
            ConfigError: the robot takes no action of that length.
        """
        count = self.num_joints(action_dim)
        return (*self.joints[len(self.joints) - count :], *self.rest[: action_dim - count])

    def groups(self, action_dim: int) -> dict[str, slice]:
        """Places of each group in an action of that length, side by side; those it has.

        Raises:
            ConfigError: the robot takes no action of that length.
        """
        names, groups, start = self.action(action_dim), dict[str, slice](), 0
        for part, members in self.parts.items():
            count = sum(name in members for name in names)
            if count:
                groups[part] = slice(start, start + count)
            start += count
        return groups


ROBOTS: dict[str, Robot] = {
    "arm": Robot(
        "neon_sim_arm",
        (*_ARM_JOINTS, "gripper"),
        _ARM_JOINTS,
        ("gripper",),
        "gripper",
        modes={"arm": 8},
        parts={"arm": _ARM_JOINTS, "gripper": ("gripper",)},
    ),
    "humanoid": Robot(
        "neon_sim_humanoid",
        (*_BODY, "down_x", "down_y", "down_z"),
        _BODY,
        _BASE,
        "base",
        modes={"arms": 17, "upper_body": 20, "whole_body": 29, "whole_body_command": 32},
        parts={"legs": _LEGS, "waist": _WAIST, "arms": _ARMS, "base": _BASE},
    ),
}


def action_groups(action_dim: int) -> dict[str, slice]:
    """``Robot.groups`` of the robot whose actions have that length: no two have the same.

    Raises:
        ConfigError: no robot takes such an action.
    """
    for robot in ROBOTS.values():
        if action_dim in robot.action_dims:
            return robot.groups(action_dim)
    known = sorted(dim for robot in ROBOTS.values() for dim in robot.action_dims)
    raise ConfigError(f"an action with groups must have one of {known} numbers (got {action_dim})")


# ---- the settings ``mode`` and ``lower`` of a command; empty is each task's own ----------------


def check_body(tasks: Sequence[str], mode: str, lower: str) -> None:
    """Hold ``mode`` (what a policy sets) and ``lower`` (what keeps the body up) to tasks.

    Raises:
        ConfigError: one is given, and a task's robot has no choice of it, or the task cannot be
            done with it.
        UnknownNameError: no such mode or lower body.
    """
    for key, value, known in (
        ("mode", mode, ROBOTS["humanoid"].modes),
        ("lower", lower, LOWER_BODIES),
    ):
        others = [name for name in tasks if task_entry(name).robot != "humanoid"]
        if value and others:
            raise ConfigError(
                f"{key}={value} is a setting of the humanoid, and {others[0]} is a task of the "
                f"{task_entry(others[0]).robot}; leave {key}= out, or name humanoid tasks only"
            )
        if value and value not in known:
            raise unknown_name(key, value, known)
    for name in tasks if mode or lower else ():
        task_entry(name).resolve().check_body(mode or None, lower or None)


def body_arguments(mode: str, lower: str) -> dict[str, Any]:
    """What of ``mode`` and ``lower`` an environment is made with: those that are given."""
    return {key: value for key, value in (("mode", mode), ("lower", lower)) if value}


def check_action_dim(found: int, who: str, task: str, mode: str) -> None:
    """Hold a policy to the length of a task's actions under a mode.

    Args:
        found: numbers of the policy's actions. who: what to call it.

    Raises:
        CheckpointError: another length; names the mode that would fit.
    """
    entry = task_entry(task)
    modes = ROBOTS[entry.robot].modes
    name = mode or entry.resolve().MODE
    if found == modes[name]:
        return
    fits = [other for other, dim in modes.items() if dim == found]
    mend = f"run it with mode={fits[0]}, or train" if fits else "train"
    raise CheckpointError(
        f"{who} gives actions of {found} numbers, {entry.name} with mode={name} takes "
        f"{modes[name]}; {mend} on demonstrations of this mode: python -m neon_sim.collect "
        f"task={entry.name} mode={name} out=DIR"
    )
