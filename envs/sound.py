"""What a robot and its surroundings are made of, and where its microphones sit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from neon_sim.audio.microphones import Mount
from neon_sim.audio.soundscape import SoundScape
from neon_sim.simulation.gl import mujoco
from neon_sim.simulation.world import World

# The arm: a head above its base that looks along +x over the table; a piezo on the hand.
# The humanoid: the middle of its line of four capsules (``assets/humanoid.xml``).
MOUNTS = {
    "arm": Mount(position=(0.0, 0.0, 0.75), contact_body="hand"),
    "humanoid": Mount(
        position=(0.046, 0.0, 0.44), body="torso_link", contact_body="right_wrist_yaw_link"
    ),
}
SHELLS = {"arm": "metal", "humanoid": "plastic"}
DEFAULT_MATERIAL = "plastic"
_MATERIALS = {
    "arm": {"table": "wood", "left_pad": "rubber", "right_pad": "rubber"},
    "humanoid": {
        "floor": "wood",
        "left_ankle_roll_link": "rubber",
        "right_ankle_roll_link": "rubber",
    },
}


def make_sound(
    world: World,
    microphones: Sequence[str],
    room: str,
    materials: Mapping[str, str],
    robot: str = "arm",
) -> SoundScape:
    """Microphones at a robot.

    Args:
        world: of a task. microphones: names of arrays. room: a name of ``ROOMS``.
        materials: of the task's geoms or bodies; the table and the floor are wood.
        robot: ``"arm"`` (metal) or ``"humanoid"`` (plastic shells, rubber soles).
    """
    mount = MOUNTS[robot]
    given = {**_bodies(world.model, robot), **_MATERIALS[robot], **materials}
    return SoundScape(
        world,
        microphones,
        mount=mount,
        room=room,
        materials=given,
        default_material=DEFAULT_MATERIAL,
    )


def _bodies(model: Any, robot: str) -> dict[str, str]:
    """Every body of the robot -> the material of its shell."""
    root = model.body_rootid[model.body(MOUNTS[robot].contact_body).id]
    bodies = [body for body in range(model.nbody) if model.body_rootid[body] == root]
    kind = mujoco.mjtObj.mjOBJ_BODY
    return {mujoco.mj_id2name(model, kind, body): SHELLS[robot] for body in bodies}
