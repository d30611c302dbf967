"""What the ground knows of robots: the names of what a dataset holds of each."""

from __future__ import annotations

from dataclasses import dataclass

from neon_sim.errors import ConfigError

_LEG = ("hip_pitch", "hip_roll", "hip_yaw", "knee", "ankle_pitch", "ankle_roll")
_ARM = (
    *("shoulder_pitch", "shoulder_roll", "shoulder_yaw", "elbow"),
    *("wrist_roll", "wrist_pitch", "wrist_yaw"),
)
_BODY = (
    *(f"{side}_{name}" for side in ("left", "right") for name in _LEG),
    *(f"waist_{name}" for name in ("yaw", "roll", "pitch")),
    *(f"{side}_{name}" for side in ("left", "right") for name in _ARM),
)
_ARM_JOINTS = tuple(f"joint{i}" for i in range(1, 8))


@dataclass(frozen=True)
class Robot:
    """Names of a robot's numbers.

    Attributes:
        dataset_type: LeRobot's ``robot_type``.
        state: of ``agent_pos``. joints: all its joints, in order.
        rest: what an action may set besides joints, after them. rest_name: all of it.
        action_dims: lengths an action may have.
    """

    dataset_type: str
    state: tuple[str, ...]
    joints: tuple[str, ...]
    rest: tuple[str, ...]
    rest_name: str
    action_dims: tuple[int, ...]

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


ROBOTS: dict[str, Robot] = {
    "arm": Robot(
        "neon_sim_arm",
        (*_ARM_JOINTS, "gripper"),
        _ARM_JOINTS,
        ("gripper",),
        "gripper",
        action_dims=(8,),
    ),
    "humanoid": Robot(
        "neon_sim_humanoid",
        (*_BODY, "down_x", "down_y", "down_z"),
        _BODY,
        ("vx", "vy", "yaw_rate"),
        "base",
        action_dims=(17, 20, 29, 32),
    ),
}
