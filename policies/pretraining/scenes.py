"""Procedural scenes for pretraining: coloured things that roll, fly, bounce, stop and hide.

They have nothing to do with the tasks: shapes, colours, sizes, camera, light and motion
are random, so that a backbone pretrained on them learns where things are and how they
move, not which task it sees. Motion is written down in closed form (no contacts), so a
sequence costs little more than its pictures.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

from neon_sim.simulation.gl import mujoco
from neon_sim.simulation.world import World

SHAPES = ("sphere",) * 4 + ("box",) * 4 + ("cylinder",) * 3 + ("capsule",) * 2
NUM_THINGS = len(SHAPES)
GRAVITY_M_S2 = 9.81
REGION_M = np.array([[0.25, 0.85], [-0.6, 0.6]])  # x, y where things stand and move
HIDDEN_M = np.array([0.0, 0.0, -50.0])
MOTIONS = ("linear", "ballistic", "start", "stop")
_TYPE = {"sphere": "0.04", "box": "0.04 0.04 0.04", "cylinder": "0.04 0.05", "capsule": "0.03 0.06"}


@dataclass(frozen=True)
class Sequence:
    """Frames of a sequence, and what only a probe may look at.

    Attributes:
        frames: (L, H, W, 3) uint8.
        position_m: (L, NUM_THINGS, 3) float64 world positions (probes only).
        pixel: (L, NUM_THINGS, 2) float64 projected centres, column then row (probes only).
        moving: indices of the things that move.
        still: indices of those that stand.
    """

    frames: np.ndarray
    position_m: np.ndarray
    pixel: np.ndarray
    moving: list[int]
    still: list[int]


def scene_xml() -> str:
    """MJCF of the one model that every procedural scene is a variation of."""
    bodies = "\n".join(
        f'<body name="thing{i}" mocap="true" pos="0 0 -50">'
        f'<geom type="{shape}" size="{_TYPE[shape]}" contype="0" conaffinity="0"/></body>'
        for i, shape in enumerate(SHAPES)
    )
    return f"""
<mujoco>
  <visual><headlight ambient="0.35 0.35 0.35" diffuse="0.35 0.35 0.35" specular="0 0 0"/></visual>
  <worldbody>
    <light name="lamp" pos="0.3 0 2.5" dir="0 0 -1" diffuse="0.5 0.5 0.5" specular="0.1 0.1 0.1"/>
    <camera name="front" pos="1.7 0 0.8" fovy="50"/>
    <geom name="floor" type="plane" size="4 4 0.1" pos="0 0 -0.4" contype="0" conaffinity="0"/>
    <geom name="table" type="box" size="0.45 0.8 0.02" pos="0.55 0 -0.02"
          contype="0" conaffinity="0"/>
    <geom name="wall" type="box" size="0.02 4 3" pos="-0.8 0 0" contype="0" conaffinity="0"/>
    <body name="screen" mocap="true" pos="0 0 -50">
      <geom name="screen" type="box" size="0.01 0.15 0.12" contype="0" conaffinity="0"/>
    </body>
    {bodies}
  </worldbody>
</mujoco>"""


def random_colour(rng: np.random.Generator, *, vivid: bool) -> np.ndarray:
    """RGBA, saturated and bright when ``vivid``, else muted."""
    saturation = rng.uniform(0.6, 1.0) if vivid else rng.uniform(0.0, 0.4)
    value = rng.uniform(0.55, 1.0) if vivid else rng.uniform(0.15, 0.95)
    return np.array([*colorsys.hsv_to_rgb(rng.uniform(), saturation, value), 1.0])


def _bounce(z0: float, vz: float, floor: float, keep: float, time_s: np.ndarray) -> np.ndarray:
    """Height of a ball that bounces on ``floor``, in closed form bounce by bounce."""
    height = np.empty_like(time_s)
    start, z, v = 0.0, z0, vz
    for _ in range(12):
        rest = time_s - start
        height = np.where(rest >= 0, z + v * rest - 0.5 * GRAVITY_M_S2 * rest**2, height)
        drop = max(z - floor, 0.0)
        fall = (v + np.sqrt(v * v + 2 * GRAVITY_M_S2 * drop)) / GRAVITY_M_S2
        start, v, z = start + fall, keep * (GRAVITY_M_S2 * fall - v), floor
        if v < 0.05:
            return np.where(time_s >= start, floor, height)
    values: np.ndarray = np.maximum(height, floor)
    return values


def _fold(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Reflect a path at two walls."""
    span = high - low
    phase = np.mod(values - low, 2 * span)
    return low + np.where(phase > span, 2 * span - phase, phase)


def random_path(rng: np.random.Generator, motion: str, z: float, time_s: np.ndarray) -> np.ndarray:
    """Path of one moving thing.

    Args:
        motion: one of ``MOTIONS``.
        z: height of its centre when it lies on the table, metres.
        time_s: (L,) seconds.

    Returns:
        (L, 3) float64 metres.
    """
    (x0, x1), (y0, y1) = REGION_M
    x, y = rng.uniform(x0, x1), rng.uniform(y0, y1)
    speed = float(np.exp(rng.uniform(np.log(0.05), np.log(1.2))))
    angle = rng.uniform(0, 2 * np.pi) if rng.uniform() < 0.6 else np.pi * (rng.integers(2) + 0.5)
    clock = time_s
    turn = rng.uniform(0.2, 0.8) * time_s[-1]
    if motion == "start":
        clock = np.maximum(time_s - turn, 0.0)
    elif motion == "stop":
        clock = np.minimum(time_s, turn)
    path = np.empty((len(time_s), 3))
    path[:, 0] = _fold(x + speed * np.cos(angle) * clock, x0 - 0.15, x1)
    path[:, 1] = y + speed * np.sin(angle) * clock
    if rng.uniform() < 0.5:
        path[:, 1] = _fold(path[:, 1], y0 - 0.1, y1 + 0.1)
    path[:, 2] = z
    if motion == "ballistic":
        vz, keep = rng.uniform(-1.0, 4.0), rng.uniform(0.2, 0.8)
        path[:, 2] = _bounce(z + rng.uniform(0.0, 0.7), vz, z, keep, time_s)
    return path


def look_at(position: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(3, 3) camera axes as columns: right, up, backwards (MuJoCo looks along -z)."""
    back = position - target
    back = back / np.linalg.norm(back)
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(back, right), back], axis=1)


class ProceduralScene:
    """One compiled model, re-dressed for every sequence.

    Args:
        image_size: pixels per side.
        frame_dt_s: seconds between frames.
    """

    def __init__(self, image_size: int = 96, frame_dt_s: float = 0.08) -> None:
        self.world = World(scene_xml())
        self.image_size, self.frame_dt_s = image_size, frame_dt_s
        model = self.world.model
        self._geoms = [int(model.body(f"thing{i}").geomadr[0]) for i in range(NUM_THINGS)]

    def sequence(
        self, rng: np.random.Generator, length: int, palette: np.ndarray | None = None
    ) -> Sequence:
        """Draw one random scene for ``length`` frames.

        Args:
            rng: decides everything.
            length: number of frames.
            palette: (P, 4) RGBA for probes: the first moving thing wears the first colour,
                the first standing one the second, all others one of the rest.
        """
        time_s = np.arange(length) * self.frame_dt_s
        order = [int(i) for i in rng.permutation(NUM_THINGS)]
        num_moving, num_still = int(rng.integers(1, 4)), int(rng.integers(1, 6))
        moving, still = order[:num_moving], order[num_moving : num_moving + num_still]
        self._dress(rng, moving, still, palette)
        position = np.tile(HIDDEN_M, (length, NUM_THINGS, 1))
        for index in moving:
            motion = str(rng.choice(MOTIONS, p=[0.4, 0.4, 0.1, 0.1]))
            position[:, index] = random_path(rng, motion, self._rest_height(index), time_s)
        for index in still:
            position[:, index, :2] = rng.uniform(REGION_M[:, 0], REGION_M[:, 1])
            position[:, index, 2] = self._rest_height(index)
        screen = self._screen(rng)
        frames = self._draw(position, screen)
        return Sequence(frames, position, self._project(position), moving, still)

    def _rest_height(self, index: int) -> float:
        size = self.world.model.geom_size[self._geoms[index]]
        return float(
            {"sphere": size[0], "box": size[2], "cylinder": size[1], "capsule": size[0] + size[1]}[
                SHAPES[index]
            ]
        )

    def _dress(
        self,
        rng: np.random.Generator,
        moving: list[int],
        still: list[int],
        palette: np.ndarray | None,
    ) -> None:
        model = self.world.model
        for name in ("floor", "table", "wall"):
            model.geom(name).rgba = random_colour(rng, vivid=rng.uniform() < 0.2)
        model.geom("table").size[1] = rng.uniform(0.5, 1.2)
        for index in moving + still:
            geom = self._geoms[index]
            model.geom_rgba[geom] = random_colour(rng, vivid=rng.uniform() < 0.85)
            model.geom_size[geom] = rng.uniform(0.025, 0.08, size=3)
        if palette is not None:
            for index in moving + still:
                model.geom_rgba[self._geoms[index]] = palette[rng.integers(2, len(palette))]
            model.geom_rgba[self._geoms[moving[0]]] = palette[0]
            model.geom_rgba[self._geoms[still[0]]] = palette[1]
        model.light("lamp").pos[:2] = rng.uniform(-1, 1.5), rng.uniform(-1.5, 1.5)
        model.light("lamp").diffuse[:] = rng.uniform(0.25, 0.7)
        model.vis.headlight.ambient[:] = rng.uniform(0.2, 0.5)
        self._place_camera(rng)

    def _place_camera(self, rng: np.random.Generator) -> None:
        model = self.world.model
        target = np.array([0.5, 0.0, 0.2]) + rng.normal(0, 0.08, size=3)
        side = rng.normal(0, 0.5) if rng.uniform() < 0.8 else np.pi + rng.normal(0, 0.3)
        raise_rad, distance = rng.uniform(0.12, 1.0), rng.uniform(1.1, 2.0)
        away = [np.cos(side) * np.cos(raise_rad), np.sin(side) * np.cos(raise_rad)]
        position = target + distance * np.array([*away, np.sin(raise_rad)])
        wall = -0.8 if abs(side) < np.pi / 2 else 1.9
        model.geom("wall").pos[0] = wall
        self._axes, self._eye = look_at(position, target), position
        camera = model.camera("front")
        camera.pos = position
        camera.fovy = rng.uniform(38, 60)
        self._fovy_rad = float(np.deg2rad(camera.fovy[0]))
        quat = np.zeros(4)
        mujoco.mju_mat2Quat(quat, self._axes.flatten())
        camera.quat = quat

    def _screen(self, rng: np.random.Generator) -> np.ndarray:
        if rng.uniform() > 0.45:
            return HIDDEN_M
        geom = self.world.model.geom("screen")
        geom.size = [0.01, rng.uniform(0.08, 0.3), rng.uniform(0.06, 0.25)]
        geom.rgba = random_colour(rng, vivid=rng.uniform() < 0.4)
        return np.array([rng.uniform(0.5, 0.95), rng.uniform(-0.4, 0.4), geom.size[2]])

    def _draw(self, position: np.ndarray, screen: np.ndarray) -> np.ndarray:
        world, size = self.world, self.image_size
        frames = np.empty((len(position), size, size, 3), dtype=np.uint8)
        world.data.mocap_pos[0] = screen
        for index, places in enumerate(position):
            world.data.mocap_pos[1:] = places
            frames[index] = world.render_now("front", size, size)
        return frames

    def _project(self, position: np.ndarray) -> np.ndarray:
        """Pixel (column, row) of world points, pinhole camera with square pixels."""
        local = (position - self._eye) @ self._axes
        scale = 0.5 * self.image_size / np.tan(0.5 * self._fovy_rad)
        depth = np.maximum(-local[..., 2], 1e-3)
        column = 0.5 * self.image_size + scale * local[..., 0] / depth
        row = 0.5 * self.image_size - scale * local[..., 1] / depth
        return np.stack([column, row], axis=-1) - 0.5
