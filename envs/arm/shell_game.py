"""ArmShellGame: a cup covers a ball, two cups change places; touch the cup with the ball.

A test of object permanence. The ball is hidden when it matters and the cups look the same, so the
policy has to follow them. It may touch a cup only after they have stopped.

From then on, every frame shows four cups in a row and nothing of the ball. Its last place is drawn
independently of its first. So the best guess without memory scores 25 %, and so does one that
remembers the first place but not the swap. The expert waits in one pose until the cups have
stopped, so that the arm's pose carries no memory for the policy.

Showing, swapping and reaching take 1.7 s. The clip of this task therefore spans 2.24 s: eight
frames 0.32 s apart, for every policy. The swap and the showing of the ball both take longer than
0.32 s, so each is visible in at least one frame. Video-language models use a similar frame rate.
Several swaps in succession are possible (``NUM_SWAPS``). With two, a small network trained on 3000
examples was right in 29 % of the cases; with one, in 97 %.
"""

from __future__ import annotations

import itertools
from typing import ClassVar, TypedDict, Unpack

import numpy as np

from neon_sim.contracts import Twins
from neon_sim.seeding import keyed_rng
from neon_sim.simulation.gl import mujoco

from ..scene import COLOURS, CYLINDER, GHOST_BITS, SPHERE, VIEW, View
from ..settings import TaskSettings
from .rails import Rails, add_slides
from .robot import hand_rotation, joint_action
from .task import ArmTask

NUM_CUPS = 4
SPACING_M = 0.15  # between cups
ROW_X = 0.55  # m, before the shift
ROW_SPREAD_M = (0.03, 0.05)  # largest shift of the row along x, along y
CUP_RADIUS, CUP_HEIGHT, KNOB_RADIUS, BALL_RADIUS = 0.042, 0.085, 0.018, 0.027  # m
KNOB_Z = CUP_HEIGHT + 0.012  # m
LIFT_M = 0.10  # of the cup while it shows the ball
SHOWN_LIFT_M = 0.035  # lift above which the ball is visible
SHOW_STEPS = 14  # control steps that the ball is shown
COVER_STEPS = 8  # control steps of covering it
SWAP_STEPS = 20  # control steps of a swap
PAUSE_STEPS = 3  # control steps before a swap
NUM_SWAPS = 1
SWING_M = 0.10  # largest distance of a swapping cup from the row
COVERED_STEP = SHOW_STEPS + COVER_STEPS
END_STEP = COVERED_STEP + NUM_SWAPS * (PAUSE_STEPS + SWAP_STEPS)
TOUCH_M = 0.05  # from fingertip to knob; a touch of any cup
TILT_RAD = 0.5
HAND = hand_rotation("x", TILT_RAD)
PAIRS = tuple(itertools.combinations(range(NUM_CUPS), 2))


class ShellGameLatent(TypedDict):
    """What varies between episodes.

    Keys:
        row: shift of the row along x and y, m.
        ball: slot in which the ball is shown.
        swaps: ``[slot, slot, side]`` of each; the first cup passes on side 1 or -1.
    """

    row: list[float]
    ball: int
    swaps: list[list[int]]


class ArmShellGame(ArmTask[ShellGameLatent]):
    """Success: the cup with the ball is touched after the cups have stopped.

    Failure: another cup was touched, or any cup while they moved.
    """

    NAME = "arm_shell_game"
    EPISODE_STEPS = 120
    INSTRUCTION = "touch the cup with the ball in it"
    START: ClassVar[np.ndarray] = np.array([0.0, -0.747, 0.0, -2.766, 0.0, 2.519, -np.pi / 4])
    START_GRIPPER = -1.0
    MIN_START_HEIGHT_M = 0.25
    VIEWS: ClassVar[dict[str, View]] = {
        "front": View((1.24, 0.0, 0.86), (0.50, 0.0, 0.07), 42.0),
        "view": VIEW,
    }

    def __init__(self, **settings: Unpack[TaskSettings]) -> None:
        super().__init__(**settings)
        joints = [f"cup{k}_{axis}" for k in range(NUM_CUPS) for axis in "xy"]
        self._rails = Rails(self.model, [*joints, "lid_z"])

    def build_scene(self, spec: mujoco.MjSpec) -> None:
        """Add the cups. Cup 0 is a ball under a lid that can rise; the others are lids alone."""
        for index in range(NUM_CUPS):
            body = spec.worldbody.add_body(name=f"cup{index}", pos=[0, 0, 0])
            add_slides(body, "xy")
            lid = body
            if index == 0:
                body.add_geom(
                    name="ball",
                    type=SPHERE,
                    size=[BALL_RADIUS, 0, 0],
                    pos=[0, 0, BALL_RADIUS],
                    rgba=COLOURS["red"],
                    **GHOST_BITS,
                )
                lid = body.add_body(name="lid", pos=[0, 0, 0])
                add_slides(lid, "z")
            self._add_lid(lid, index)

    @staticmethod
    def _add_lid(body: mujoco.MjsBody, index: int) -> None:
        for name, radius, half, z, rgba in (
            ("cup", CUP_RADIUS, CUP_HEIGHT / 2, CUP_HEIGHT / 2, (0.16, 0.42, 0.72, 1)),
            ("knob", KNOB_RADIUS, 0.012, KNOB_Z, (0.95, 0.95, 0.93, 1)),
        ):
            body.add_geom(
                name=f"{name}{index}",
                type=CYLINDER,
                size=[radius, half, 0],
                pos=[0, 0, z],
                rgba=rgba,
                **GHOST_BITS,
            )

    def sample_latent(self, rng: np.random.Generator) -> ShellGameLatent:
        """Draw the row, the ball's first slot, and swaps that lead it to a random slot."""
        row = [float(rng.uniform(-spread, spread)) for spread in ROW_SPREAD_M]
        ball, end = (int(rng.integers(NUM_CUPS)) for _ in range(2))
        return {"row": row, "ball": ball, "swaps": draw_swaps(rng, ball, end)}

    def apply_latent(self, latent: ShellGameLatent) -> None:
        """Plan the path of every cup."""
        self._touched_wrong = False
        x, y = latent["row"]
        slots = (np.arange(NUM_CUPS) - (NUM_CUPS - 1) / 2) * SPACING_M
        self._slots = np.stack([np.full(NUM_CUPS, ROW_X + x), slots + y], axis=1)
        others = [slot for slot in range(NUM_CUPS) if slot != latent["ball"]]
        self._orders = [[int(latent["ball"]), *others]]  # slot of each cup, after each swap
        for swap in latent["swaps"]:
            self._orders.append([swapped(slot, swap) for slot in self._orders[-1]])
        self._rails.begin(self.start, self._path)
        target = np.array([*self._slots[self._orders[-1][0]], KNOB_Z + 0.01])
        self._target = target - np.array([0.015, 0.0, 0.0])

    def _path(self, step: int) -> np.ndarray:
        """(9,) m: x and y of each cup, and the lift of the lid, at a control step."""
        moving, share = divmod(max(step - COVERED_STEP, 0), PAUSE_STEPS + SWAP_STEPS)
        lift = LIFT_M * min(max((COVERED_STEP - step) / COVER_STEPS, 0.0), 1.0)
        if moving >= len(self.latent["swaps"]):
            return np.append(self._slots[self._orders[-1]].ravel(), lift)
        places = self._slots[self._orders[moving]].copy()
        first, second, side = self.latent["swaps"][moving]
        turn = np.pi * max(share - PAUSE_STEPS, 0) / SWAP_STEPS
        middle = (self._slots[first] + self._slots[second]) / 2
        half = np.array([side * SWING_M * np.sin(turn), np.cos(turn)])
        half[1] *= self._slots[first][1] - middle[1]
        for cup, slot in enumerate(self._orders[moving]):
            if slot in (first, second):
                places[cup] = middle + (half if slot == first else -half)
        return np.append(places.ravel(), lift)

    def after_step(self) -> None:
        """Move the cups, and record a touch that is wrong or too early."""
        self._rails.follow(self.data, self._path, self.control_step)
        distances = self._distances()
        early = self.control_step < END_STEP
        self._touched_wrong |= bool(distances[0 if early else 1 :].min() < TOUCH_M)

    def _distances(self) -> np.ndarray:
        """(4,) m from the fingertip to each knob; the cup with the ball is first."""
        offset = np.full((NUM_CUPS, 3), KNOB_Z)
        offset[:, :2] = self._rails.place(self.data.qpos)[:-1].reshape(NUM_CUPS, 2)
        offset -= self.tool_position()
        distances: np.ndarray = np.sqrt((offset * offset).sum(axis=1))
        return distances

    def is_success(self) -> bool:
        """The fingertip is at the right knob, the cups have stopped, and no touch was wrong."""
        late = self.control_step >= END_STEP and not self._touched_wrong
        return late and bool(self._distances()[0] < TOUCH_M)

    def failed(self) -> bool:
        """A wrong cup was touched, or any cup while they moved."""
        return self._touched_wrong

    def closeness(self) -> float:
        """1 at the right knob, falling to 0 at 0.6 m from it."""
        rest = max(float(np.linalg.norm(self._target - self.tool_position())) - TOUCH_M, 0.0)
        return max(0.0, 1.0 - rest / 0.6)

    def visible_state(self, qpos: np.ndarray) -> list[float]:
        """x and y of the cups, sorted, since they look the same; the visible ball; m."""
        place = self._rails.place(qpos)
        cups = place[:-1].reshape(NUM_CUPS, 2)
        order = np.lexsort((cups[:, 0], cups[:, 1]))
        ball = [*cups[0].tolist(), 1.0] if place[-1] > SHOWN_LIFT_M else [0.0] * 3
        return [*cups[order].ravel().tolist(), *ball]

    def expert_action(self) -> np.ndarray:
        """Wait until the cups have stopped, then go straight to the right knob."""
        if self.control_step < END_STEP:
            return joint_action(self.START, -1.0)
        joints = self.kinematics.inverse(
            self._target, HAND, rotation_weight=0.1, posture=self.START, spin_free=True
        )
        return joint_action(joints, -1.0)

    def twins(self, seed: int, index: int) -> Twins:
        """Equal first and last frames; only the swap between them tells where the ball is."""
        rng = keyed_rng(self.NAME, self.VERSION, seed, index, "twins")
        first = self.sample_latent(rng)
        end = final_slot(first["ball"], first["swaps"])
        other = (end + int(rng.integers(1, NUM_CUPS))) % NUM_CUPS
        second: ShellGameLatent = {**first, "swaps": draw_swaps(rng, first["ball"], other)}
        return Twins(first, second, END_STEP + 2)


def swapped(slot: int, swap: list[int]) -> int:
    """The slot of a cup, from ``slot``, after a swap ``[slot, slot, side]``."""
    first, second, _ = swap
    return {first: second, second: first}.get(slot, slot)


def final_slot(ball: int, swaps: list[list[int]]) -> int:
    """The slot of the ball after the swaps."""
    for swap in swaps:
        ball = swapped(ball, swap)
    return ball


def draw_swaps(rng: np.random.Generator, ball: int, end: int) -> list[list[int]]:
    """Draw swaps ``[slot, slot, side]`` that lead from slot ``ball`` to slot ``end``."""
    while True:
        chosen = [PAIRS[int(k)] for k in rng.choice(len(PAIRS), size=NUM_SWAPS, replace=False)]
        swaps = [[*pair, int(rng.choice([-1, 1]))] for pair in chosen]
        if final_slot(ball, swaps) == end:
            return swaps
