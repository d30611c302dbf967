"""The scene around the robot: table or hall, floor, sky, light, colours and cameras."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neon_sim.simulation.gl import mujoco

# Saturated and far apart, so that images of 96 pixels suffice to tell them apart. RGBA.
COLOURS: dict[str, tuple[float, float, float, float]] = {
    "red": (0.90, 0.12, 0.10, 1.0),
    "green": (0.10, 0.68, 0.22, 1.0),
    "blue": (0.10, 0.30, 0.95, 1.0),
    "yellow": (1.00, 0.82, 0.05, 1.0),
}
# Collision bits: an object touches objects, hand and table; the table touches objects and hand.
OBJECT_BITS = {"contype": 2, "conaffinity": 2}
STATIC_BITS = {"contype": 0, "conaffinity": 6}
GHOST_BITS = {"contype": 0, "conaffinity": 0}
SOLE_BIT = 8  # of a humanoid's soles; a floor must collide with it

BOX = mujoco.mjtGeom.mjGEOM_BOX
SPHERE = mujoco.mjtGeom.mjGEOM_SPHERE
CAPSULE = mujoco.mjtGeom.mjGEOM_CAPSULE
CYLINDER = mujoco.mjtGeom.mjGEOM_CYLINDER
PLANE = mujoco.mjtGeom.mjGEOM_PLANE


@dataclass(frozen=True)
class View:
    """Pose and field of view of a fixed camera.

    Attributes:
        position, target: m, world frame; the camera looks from one to the other.
        fovy: vertical field of view, degrees.
    """

    position: tuple[float, float, float]
    target: tuple[float, float, float]
    fovy: float


FRONT = View((1.24, 0.0, 0.86), (0.45, 0.0, 0.06), 36.0)
VIEW = View((1.55, -0.95, 0.85), (0.40, 0.02, 0.22), 42.0)


def look_at(view: View) -> np.ndarray:
    """(6,) x and y axes, in the world frame, of an upright camera that looks at the target."""
    back = np.array(view.position) - np.array(view.target)
    back /= np.linalg.norm(back)
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    return np.concatenate([right, np.cross(back, right)])


def add_camera(spec: mujoco.MjSpec, name: str, view: View) -> None:
    """Add a fixed camera."""
    quat = axes_to_quat(look_at(view).reshape(2, 3))
    spec.worldbody.add_camera(name=name, pos=view.position, quat=quat, fovy=view.fovy)


def axes_to_quat(axes: np.ndarray) -> np.ndarray:
    """(4,) quaternion, w first, of the frame whose x and y axes are the rows of (2, 3) ``axes``."""
    rotation = np.column_stack([*axes, np.cross(*axes)])
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, rotation.ravel())
    return quat


def add_room(spec: mujoco.MjSpec) -> None:
    """Add floor, table, sky and light for an arm that stands on the table at z = 0."""
    world = spec.worldbody
    _add_sky(spec)
    world.add_geom(
        name="floor",
        type=BOX,  # drawn a third of a frame faster than a plane (measured, llvmpipe)
        size=[4, 4, 0.01],
        pos=[0, 0, -0.71],
        rgba=[0.62, 0.58, 0.54, 1],
        **GHOST_BITS,
    )
    world.add_geom(
        name="table",
        type=BOX,
        size=[0.62, 0.75, 0.02],
        pos=[0.42, 0, -0.02],
        rgba=[0.80, 0.70, 0.57, 1],
        **STATIC_BITS,
    )
    _add_light(spec, (0.8, -0.8, 2.0))
    # fixed, so that clip planes and the sharpness of shadows do not depend on the scene
    spec.stat.extent, spec.stat.center = 1.2, [0.4, 0.0, 0.2]
    spec.visual.map.znear = 0.02
    spec.visual.map.zfar = 12.0


def add_hall(spec: mujoco.MjSpec) -> None:
    """Add floor, sky and light for a humanoid that stands on the floor at z = 0."""
    world = spec.worldbody
    _add_sky(spec)
    world.add_geom(
        name="floor",
        type=BOX,
        size=[6, 6, 0.05],
        pos=[0, 0, -0.05],
        rgba=[0.62, 0.58, 0.54, 1],
        contype=0,
        conaffinity=STATIC_BITS["conaffinity"] | SOLE_BIT,
    )
    for name, radius, height, grey in (("rug", 1.1, 0.001, 0.55), ("rug_middle", 0.6, 0.002, 0.63)):
        world.add_geom(
            name=name,
            type=CYLINDER,
            size=[radius, height, 0],
            rgba=[0.93 * grey, grey, 1.07 * grey, 1],
            **GHOST_BITS,
        )
    _add_light(spec, (1.0, -1.2, 3.0))
    spec.stat.extent, spec.stat.center = 2.4, [0.7, 0.0, 0.7]
    spec.visual.map.znear = 0.01
    spec.visual.map.zfar = 12.0


def _add_sky(spec: mujoco.MjSpec) -> None:
    spec.add_texture(
        name="sky",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=[0.98, 0.92, 0.84],
        rgb2=[0.55, 0.68, 0.82],
        width=64,
        height=64,
    )


def _add_light(spec: mujoco.MjSpec, position: tuple[float, float, float]) -> None:
    spec.visual.headlight.ambient = [0.40, 0.40, 0.41]
    spec.visual.headlight.diffuse = [0.22, 0.22, 0.23]
    spec.visual.headlight.specular = [0.0, 0.0, 0.0]
    spec.worldbody.add_light(
        name="sun",
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        pos=position,
        dir=[-0.25, 0.35, -0.9],
        diffuse=[0.50, 0.465, 0.41],
        specular=[0.1, 0.1, 0.1],
        castshadow=True,
    )
