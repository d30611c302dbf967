"""What the arm's scene is made of, and where its robot's microphones sit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from neon_sim.audio.microphones import Mount
from neon_sim.audio.soundscape import SoundScape
from neon_sim.gl import mujoco
from neon_sim.world import World

# A head above the arm's base that looks along +x over the table; a piezo on the hand.
MOUNT = Mount(position=(0.0, 0.0, 0.75), contact_body="hand")
DEFAULT_MATERIAL = "plastic"
_MATERIALS = {"table": "wood", "left_pad": "rubber", "right_pad": "rubber"}


def make_sound(
    world: World, microphones: Sequence[str], room: str, materials: Mapping[str, str]
) -> SoundScape:
    """Microphones at the arm.

    Args:
        world: of an arm task. microphones: names of arrays. room: a name of ``ROOMS``.
        materials: of the task's geoms or bodies; the arm is metal, the table wood.
    """
    given = {**_arm_bodies(world.model), **_MATERIALS, **materials}
    return SoundScape(
        world,
        microphones,
        mount=MOUNT,
        room=room,
        materials=given,
        default_material=DEFAULT_MATERIAL,
    )


def _arm_bodies(model: Any) -> dict[str, str]:
    """Every body of the arm -> metal."""
    root = model.body_rootid[model.body("hand").id]
    bodies = [body for body in range(model.nbody) if model.body_rootid[body] == root]
    kind = mujoco.mjtObj.mjOBJ_BODY
    return {mujoco.mj_id2name(model, kind, body): "metal" for body in bodies}
