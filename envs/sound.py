"""The materials of a robot and its surroundings, and where its microphones are mounted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from neon_sim.audio.microphones import Mount
from neon_sim.audio.soundscape import SoundScape
from neon_sim.simulation.gl import mujoco
from neon_sim.simulation.world import World

# The arm has a head above its base, facing +x over the table, and a contact microphone on the hand.
# The humanoid's is the middle of its line of four microphone capsules (``assets/humanoid.xml``).
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
    """The soundscape of a task, heard by the microphones of its robot.

    Args:
        world: of the task. microphones: names of arrays. room: a name of ``ROOMS``.
        materials: geom or body of the task -> material; table and floor are wood.
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


def _bodies(model: mujoco.MjModel, robot: str) -> dict[str, str]:
    """The material of its shell for every body of the robot."""
    root = model.body_rootid[model.body(MOUNTS[robot].contact_body).id]
    bodies = [body for body in range(model.nbody) if model.body_rootid[body] == root]
    kind = mujoco.mjtObj.mjOBJ_BODY
    return {mujoco.mj_id2name(model, kind, body): SHELLS[robot] for body in bodies}
