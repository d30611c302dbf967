"""Posts with coloured knobs. They have no contact: a touch is a small distance to the knob."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, TypedDict

import numpy as np

from neon_sim.simulation.gl import mujoco

from .scene import COLOURS, CYLINDER, GHOST_BITS, SPHERE
from .task import Task

NUM_POSTS = 3
ASIDE = np.array([-0.015, 0.0, 0.01])  # m from a knob's middle towards its near upper side


class PostsLatent(TypedDict):
    """Three posts.

    Keys:
        places: m, x and y or x, y and z of each post.
        colours: three of ``COLOURS``; the first is the one to touch.
    """

    places: list[list[float]]
    colours: list[str]


def add_post(
    spec: mujoco.MjSpec,
    index: int,
    stem: tuple[float, float, float],
    knob: tuple[float, float],
    rgba: Sequence[float] = (0.5, 0.5, 0.5, 1.0),
    stem_rgba: Sequence[float] = (0.35, 0.33, 0.32, 1.0),
) -> None:
    """Add body ``post{index}`` with geoms ``stem{index}`` and ``knob{index}``.

    Args:
        spec: of the scene. index: of the post.
        stem: radius, half height, and height of its middle above the body, m.
        knob: radius, and height of its middle above the body, m.
        rgba: colour of the knob. stem_rgba: colour of the stem.
    """
    radius, half, middle = stem
    body = spec.worldbody.add_body(name=f"post{index}")
    body.add_geom(
        name=f"stem{index}",
        type=CYLINDER,
        size=[radius, half, 0],
        pos=[0, 0, middle],
        rgba=stem_rgba,
        **GHOST_BITS,
    )
    body.add_geom(
        name=f"knob{index}",
        type=SPHERE,
        size=[knob[0], 0, 0],
        pos=[0, 0, knob[1]],
        rgba=rgba,
        **GHOST_BITS,
    )


def draw_colours(rng: np.random.Generator) -> list[str]:
    """Three of the four colours, in random order."""
    order = rng.permutation(len(COLOURS))[:NUM_POSTS]
    return [list(COLOURS)[int(index)] for index in order]


def visible_posts(colours: Sequence[str], places: np.ndarray) -> list[float]:
    """For each of ``COLOURS``: 1 and the place of its post, or zeros if it has none.

    Args:
        colours: of the N posts. places: (N, 2 or 3) m.
    """
    state: list[float] = []
    by_colour = dict(zip(colours, places.tolist(), strict=True))
    for colour in COLOURS:
        place = by_colour.get(colour)
        state += [0.0] * (1 + places.shape[1]) if place is None else [1.0, *place]
    return state


class NamedPost(Task[PostsLatent]):
    """Touch the named one of three posts. Touching another fails.

    Class attributes:
        TOUCH_M: distance to the middle of the named knob that counts as a touch.
        WRONG_M: distance to the middle of another knob that counts as a touch.
        PLACE_AXES: how many coordinates of a place are drawn.
        KNOB_M: height of a knob above its place.
    """

    TOUCH_M: ClassVar[float]
    WRONG_M: ClassVar[float]
    PLACE_AXES: ClassVar[int]
    KNOB_M: ClassVar[float]

    def draw_places(self, rng: np.random.Generator) -> list[list[float]]:
        """Draw the three places, m."""
        raise NotImplementedError

    def touching(self) -> np.ndarray:
        """(H, 3) m: the points of the robot that can touch."""
        raise NotImplementedError

    def sample_latent(self, rng: np.random.Generator) -> PostsLatent:
        """Draw places and colours."""
        return {"places": self.draw_places(rng), "colours": draw_colours(rng)}

    def apply_latent(self, latent: PostsLatent) -> None:
        """Move and paint the posts."""
        self._touched_wrong = False
        self._distances_tick, self._distances_now = -1, np.zeros(NUM_POSTS)
        self._knobs = place_posts(self.model, latent["places"], latent["colours"], self.KNOB_M)

    @property
    def task_description(self) -> str:
        """Names the colour to touch."""
        return f"touch the {self.latent['colours'][0]} post"

    def _distances(self) -> np.ndarray:
        """(3,) m from each knob to the nearest touching point; the named knob is first.

        Computed once a tick.
        """
        if self._distances_tick != self.tick or self.tick == 0:
            offsets = self._knobs[None] - self.touching()[:, None]
            self._distances_now = np.sqrt((offsets * offsets).sum(axis=2).min(axis=0))
            self._distances_tick = self.tick
        return self._distances_now

    def after_step(self) -> None:
        """Record a touch of a wrong post."""
        self._touched_wrong |= bool(self._distances()[1:].min() < self.WRONG_M)

    def is_success(self) -> bool:
        """The named knob is touched, and no other has been touched."""
        return not self._touched_wrong and bool(self._distances()[0] < self.TOUCH_M)

    def failed(self) -> bool:
        """A wrong post was touched."""
        return self._touched_wrong

    def closeness(self) -> float:
        """1 at the named knob, falling to 0 at 0.6 m from it."""
        rest = max(float(self._distances()[0]) - self.TOUCH_M, 0.0)
        return max(0.0, 1.0 - rest / 0.6)

    def visible_state(self, qpos: np.ndarray) -> list[float]:
        """For each colour: whether it is there, and where."""
        del qpos  # posts stand still
        return visible_posts(self.latent["colours"], self._knobs[:, : self.PLACE_AXES])


def place_posts(
    model: mujoco.MjModel, places_m: list[list[float]], colours: list[str], knob_m: float
) -> np.ndarray:
    """Move and paint the posts.

    Returns:
        (3, 3) m: the middles of their knobs, ``knob_m`` above the places.
    """
    places = np.zeros((NUM_POSTS, 3))
    for index, (place, colour) in enumerate(zip(places_m, colours, strict=True)):
        places[index, : len(place)] = place
        model.body(f"post{index}").pos[:] = places[index]
        model.geom(f"knob{index}").rgba[:] = COLOURS[colour]
    places[:, 2] += knob_m
    return places
