"""What counts as success in each task, and what as failure: states just inside and just outside.

A state is written into the simulator and looked at once, as after a control step. Where a thing
is, is read from what is drawn (``geom_xpos``), not from what the task remembers of it; limits are
literals, so that a task that changes one has to say so here and take a new version.
``tests/tools/planted_faults.py`` shows that these tests find faults in every task.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from planted_faults import read_faults

import neon_sim
from neon_sim.envs.arm.robot import hand_rotation
from neon_sim.envs.scene import COLOURS
from neon_sim.envs.task import HOLD_STEPS
from neon_sim.registry import TASKS
from neon_sim.simulation.gl import mujoco

assert neon_sim.__version__
DT_S = 0.02
REACHING = hand_rotation("x", 0.5)
MADE: dict[str, Any] = {}


def begin(name: str, **latent: Any) -> Any:
    """A task without pictures and sound at the start of an episode, with some of its latent."""
    if name not in MADE:
        MADE[name] = TASKS[name].resolve()(cameras=(), microphones=())
    env = MADE[name]
    env.reset(seed=3, options={"episode": 1})
    if latent:
        options = {"episode": 1, "latent": {**env.latent, **latent}}
        env.reset(seed=3, options=options)
    return env


def look(env: Any) -> str:
    """What the task says of the state now: ``success``, ``failure`` or ``open``."""
    mujoco.mj_forward(env.model, env.data)
    env.after_step()
    mujoco.mj_forward(env.model, env.data)
    success, failed = env._outcome()
    assert not (success and failed)
    return "success" if success else "failure" if failed else "open"


def put_tool(env: Any, point: Any, hand: np.ndarray = REACHING) -> None:
    """Bring the arm's tool point to (3,) m, to a tenth of a millimetre."""
    goal = np.array(point, dtype=np.float64)
    aim, first = goal.copy(), env.model.joint("joint1").qposadr[0]
    for _ in range(6):
        env.data.qpos[first : first + 7] = env.kinematics.inverse(
            aim, hand, rotation_weight=0.05, posture=env.START, spin_free=True
        )
        mujoco.mj_forward(env.model, env.data)
        aim += goal - env.tool_position()
    assert np.linalg.norm(env.tool_position() - goal) < 1e-4


def away(x: float = 0.0, y: float = 0.0, z: float = 0.0) -> np.ndarray:
    """(3,) m."""
    return np.array([x, y, z])


def put_fingers(env: Any, travel: float) -> None:
    """Each finger so far from the middle, m."""
    for name in ("finger_joint1", "finger_joint2"):
        env.data.qpos[env.model.joint(name).qposadr[0]] = travel


def put_body(env: Any, name: str, point: Any, velocity: Any = (0.0, 0.0, 0.0)) -> None:
    """A free or sliding body at a point in m, at a velocity in m/s, as many axes as it has."""
    joint = env.model.joint(env.model.body(name).jntadr[0])
    q, v, axes = joint.qposadr[0], joint.dofadr[0], min(3, env.model.body(name).dofnum[0])
    env.data.qpos[q : q + axes] = np.asarray(point)[:axes]
    env.data.qvel[v : v + axes] = np.asarray(velocity)[:axes]


def seen(env: Any, geom: str) -> np.ndarray:
    """(3,) m: where a geom is drawn."""
    return env.data.geom(geom).xpos.copy()


def colour(env: Any, geom: str) -> tuple[float, ...]:
    """How a geom is painted."""
    return tuple(round(float(part), 3) for part in env.model.geom(geom).rgba)


# ---- knobs that are named, or stand for what is heard -----------------------------------------


def test_arm_reach_wants_the_named_knob_and_no_other() -> None:
    places = [[0.5, 0.2], [0.5, 0.0], [0.5, -0.2]]
    named = {"places": places, "colours": ["blue", "red", "yellow"]}
    up = np.array([0.0, 0.0, 1.0])
    for distance, wanted in ((0.0, "success"), (0.049, "success"), (0.051, "open")):
        env = begin("arm_reach", **named)
        assert colour(env, "knob0") == pytest.approx(COLOURS["blue"])
        assert "blue" in env.task_description
        put_tool(env, seen(env, "knob0") + distance * up)
        assert look(env) == wanted, distance
    for knob in ("knob1", "knob2"):
        for distance, wanted in ((0.035, "failure"), (0.037, "open")):
            env = begin("arm_reach", **named)
            put_tool(env, seen(env, knob) + distance * up)
            assert look(env) == wanted, (knob, distance)
    put_tool(env, seen(env, "knob1"))  # once wrong, wrong for good
    look(env)
    put_tool(env, seen(env, "knob0"))
    assert look(env) == "failure"


def hands_of(env: Any) -> dict[str, np.ndarray]:
    return {side: env.hand_position(side) for side in ("left", "right")}


@pytest.mark.parametrize("side", ["left", "right"])
def test_humanoid_reach_wants_the_named_knob_and_no_other(side: str) -> None:
    hand = hands_of(begin("humanoid_reach"))[side]
    far = [hand + away(1.0), hand + away(2.0)]
    ahead = np.array([1.0, 0.0, 0.0])
    for index, distance, wanted in (
        (0, 0.0, "success"),
        (0, 0.059, "success"),
        (0, 0.061, "open"),
        (1, 0.049, "failure"),
        (1, 0.051, "open"),
        (2, 0.049, "failure"),
    ):
        places = [far[0], far[1]]
        places.insert(index, hand + distance * ahead)
        env = begin("humanoid_reach", places=[place.tolist() for place in places])
        assert seen(env, f"knob{index}") == pytest.approx(hand + distance * ahead)
        assert look(env) == wanted, (index, distance)
    assert colour(env, "knob0") == pytest.approx(COLOURS[env.latent["colours"][0]])
    assert env.latent["colours"][0] in env.task_description


def from_the_left(env: Any, count: int) -> dict[Any, str]:
    """Cue k is knob k, and they stand in a row, the first at the left."""
    assert (np.diff([seen(env, f"knob{k}")[1] for k in range(count)]) < 0).all()
    return {k: f"knob{k}" for k in range(count)}


def knobs_of_ringing(env: Any) -> dict[Any, str]:
    return from_the_left(env, 4)


def knobs_of_audio_visual(env: Any) -> dict[Any, str]:
    """A ball's post stands straight before it."""
    for k in range(3):
        assert seen(env, f"knob{k}")[1] == pytest.approx(seen(env, f"ball{k}")[1])
        assert seen(env, f"plate{k}")[1] == pytest.approx(seen(env, f"ball{k}")[1])
    return from_the_left(env, 3)


def knobs_of_material(env: Any) -> dict[Any, str]:
    """Brown for wood, grey for metal, light blue for glass."""
    paints = {"wood": (0.52, 0.30, 0.12), "metal": (0.42, 0.44, 0.50), "glass": (0.45, 0.85, 0.92)}
    found = {colour(env, f"knob{k}")[:3]: f"knob{k}" for k in range(3)}
    return {name: found[paint] for name, paint in paints.items()}


def knobs_of_tone_order(env: Any) -> dict[Any, str]:
    """As the instruction says it."""
    found = {colour(env, f"knob{k}"): f"knob{k}" for k in range(2)}
    said = env.task_description
    assert said.startswith("touch the blue post when the tones rise and the yellow post when")
    exact = {name: tuple(round(part, 3) for part in COLOURS[name]) for name in ("blue", "yellow")}
    return {"rising": found[exact["blue"]], "falling": found[exact["yellow"]]}


def knobs_of_spoken(env: Any) -> dict[Any, str]:
    """The word is the knob's colour."""
    paints = {tuple(round(part, 3) for part in rgba): name for name, rgba in COLOURS.items()}
    return {paints[colour(env, f"knob{k}")]: f"knob{k}" for k in range(3)}


TOUCHED: dict[str, Callable[[Any], dict[Any, str]]] = {
    "arm_ringing": knobs_of_ringing,
    "arm_audio_visual": knobs_of_audio_visual,
    "arm_material": knobs_of_material,
    "arm_tone_order": knobs_of_tone_order,
    "arm_spoken": knobs_of_spoken,
}


@pytest.mark.parametrize("name", sorted(TOUCHED))
def test_the_first_knob_that_is_touched_is_the_choice(name: str) -> None:
    """Within 4.5 cm of the fingertip, and of the cue that sounds; nothing mends a wrong one."""
    scene: dict[str, Any] = {}
    if name == "arm_spoken":
        scene = {"colours": ["yellow", "green", "red"], "word": "red"}  # in no order of theirs
    env = begin(name, **scene)
    mujoco.mj_forward(env.model, env.data)
    knobs = TOUCHED[name](env)
    assert set(knobs) == set(env.cues())
    up = np.array([0.0, 0.0, 1.0])
    for cue, knob in knobs.items():
        for distance, wanted in ((0.044, "success"), (0.046, "open")):
            env = begin(name, **{**scene, env.CUE: cue})
            put_tool(env, seen(env, knob) + distance * up)
            assert look(env) == wanted, (cue, distance)
    first, second = list(knobs)[:2]
    env = begin(name, **{**scene, env.CUE: second})
    put_tool(env, seen(env, knobs[first]))
    assert look(env) == "failure"
    put_tool(env, seen(env, knobs[second]))
    assert look(env) == "failure"
    env = begin(name, **{**scene, env.CUE: second})
    put_tool(env, seen(env, knobs[second]))
    assert look(env) == "success"
    put_tool(env, seen(env, knobs[first]))  # the choice was made
    assert look(env) == "success"


@pytest.mark.parametrize("side", ["left", "right"])
def test_humanoid_alarm_takes_the_first_alarm_that_a_hand_is_at(side: str) -> None:
    hand = hands_of(begin("humanoid_alarm"))[side]
    far = [(hand + away(2.0 + k)).tolist() for k in range(4)]
    for index in range(4):
        for distance, wanted in ((0.084, "success"), (0.086, "open")):
            places = [list(place) for place in far]
            places[index] = (hand + away(z=distance)).tolist()
            env = begin("humanoid_alarm", places=places, sounding=index)
            assert seen(env, f"bell{index}") == pytest.approx(np.array(places[index]))
            assert look(env) == wanted, (index, distance)
        env = begin("humanoid_alarm", places=places, sounding=(index + 1) % 4)
        env._places[index] = hand
        assert look(env) == "failure", index
    env._places[(index + 1) % 4] = hand
    assert look(env) == "failure"


# ---- handles to squeeze -----------------------------------------------------------------------


def test_arm_rattle_takes_the_first_handle_that_is_squeezed() -> None:
    env = begin("arm_rattle")
    assert (np.diff([seen(env, f"handle{k}")[1] for k in range(4)]) < 0).all()  # from the left
    down = hand_rotation("x")
    for index in range(4):
        for off, travel, wanted in (
            ((0.0, 0.0), 0.031, "success"),
            ((0.0, 0.0), 0.033, "open"),
            ((0.049, 0.0), 0.0, "success"),
            ((0.0, -0.049), 0.0, "success"),
            ((0.051, 0.0), 0.0, "failure"),  # shut on nothing
            ((0.0, 0.051), 0.0, "failure"),
        ):
            env = begin("arm_rattle", box=index)
            handle = seen(env, f"handle{index}")
            put_tool(env, handle + away(*off, 0.05), down)
            put_fingers(env, travel)
            assert look(env) == wanted, (index, off, travel)
        env = begin("arm_rattle", box=(index + 1) % 4)
        put_tool(env, seen(env, f"handle{index}") + away(z=0.05), down)
        put_fingers(env, 0.0)
        assert look(env) == "failure"
        put_tool(env, seen(env, f"handle{(index + 1) % 4}") + away(z=0.05), down)
        assert look(env) == "failure"  # the first squeeze counts


def test_arm_latch_wants_the_handle_within_300_ms_of_the_click() -> None:
    down = hand_rotation("x")
    ticks = begin("arm_latch").cues()
    assert len(ticks) == 6
    for index, click in enumerate(ticks):
        for after, off, travel, wanted in (
            (-1, 0.0, 0.0, "failure"),
            (0, 0.0, 0.0, "failure"),
            (1, 0.0, 0.0, "success"),
            (150, 0.0, 0.031, "success"),
            (150, 0.0, 0.033, "open"),
            (151, 0.0, 0.0, "failure"),
            (50, 0.049, 0.0, "success"),
            (50, 0.051, 0.0, "failure"),
        ):
            env = begin("arm_latch", click_tick=click)
            put_tool(env, seen(env, "handle") + away(off, z=0.03), down)
            put_fingers(env, travel)
            env.world.tick = click + after
            assert look(env) == wanted, (index, after, off, travel)
        env.world.tick = click + 50
        assert look(env) == "failure"
    env = begin("arm_latch", click_tick=ticks[2])
    put_tool(env, seen(env, "handle") + away(z=0.03), down)
    put_fingers(env, 0.0)
    env.world.tick = ticks[1] + 50  # in time for a click that did not come
    assert look(env) == "failure"


# ---- things to be put, lifted and uncovered ---------------------------------------------------


def test_arm_pick_place_wants_the_named_block_in_the_bowl_and_let_go() -> None:
    bowl = np.array([0.5, 0.2, 0.0])

    def outcome(
        off: tuple[float, float, float],
        travel: float = 0.04,
        tool_z: float = 0.10,
        block: str = "block0",
    ) -> str:
        env = begin("arm_pick_place", bowl=[0.5, 0.2])
        assert seen(env, "plate")[:2] == pytest.approx(bowl[:2])
        put_tool(env, [0.45, -0.2, tool_z], hand_rotation("y"))
        put_fingers(env, travel)
        put_body(env, block, bowl + off)
        return look(env)

    for off in ((0.084, 0.0), (0.0, -0.084), (-0.059, 0.059)):
        assert outcome((*off, 0.03)) == "success", off
    for off in ((0.086, 0.0), (0.0, -0.086), (-0.061, 0.061)):
        assert outcome((*off, 0.03)) == "open", off
    assert outcome((0.0, 0.0, 0.054)) == "success"
    assert outcome((0.0, 0.0, 0.056)) == "open"
    assert outcome((0.0, 0.0, 0.03), travel=0.029) == "open"  # still between the fingers
    assert outcome((0.0, 0.0, 0.03), travel=0.031) == "success"
    assert outcome((0.0, 0.0, 0.03), travel=0.0, tool_z=0.125) == "success"
    assert outcome((0.0, 0.0, 0.03), travel=0.0, tool_z=0.115) == "open"
    assert outcome((0.0, 0.0, 0.03), block="block1") == "open"
    assert outcome((0.5, 0.0, -0.049)) == "open"
    assert outcome((0.5, 0.0, -0.051)) == "failure"
    env = begin("arm_pick_place")
    assert colour(env, "block0") == pytest.approx(COLOURS[env.latent["colours"][0]])
    assert env.latent["colours"][0] in env.task_description


def test_arm_conveyor_pick_wants_the_cup_10_cm_up_and_between_the_fingers() -> None:
    resting = 0.052  # m: half its height above the belt

    def outcome(off: tuple[float, float, float], lift: float) -> str:
        env = begin("arm_conveyor_pick")
        assert seen(env, "cup")[2] == pytest.approx(resting)
        cup = np.array([0.5, 0.0, resting + lift])
        put_tool(env, cup + off, hand_rotation("x"))
        put_body(env, "cup", cup)
        return look(env)

    assert outcome((0.0, 0.0, 0.0), 0.101) == "success"
    assert outcome((0.0, 0.0, 0.0), 0.099) == "open"
    for axis in range(3):
        for distance, wanted in ((0.059, "success"), (0.061, "open"), (-0.059, "success")):
            off = [0.0, 0.0, 0.0]
            off[axis] = distance
            assert outcome((off[0], off[1], off[2]), 0.15) == wanted, off
    for y, z, wanted in (
        (0.619, resting, "open"),
        (0.621, resting, "failure"),
        (-0.619, resting, "open"),
        (-0.621, resting, "failure"),
        (0.0, resting - 0.009, "open"),
        (0.0, resting - 0.011, "failure"),
    ):
        env = begin("arm_conveyor_pick")
        put_body(env, "cup", (0.5, y, z))
        assert look(env) == wanted, (y, z)


def test_arm_shell_game_wants_the_cup_with_the_ball_once_the_cups_stand() -> None:
    stand, hand = 45, hand_rotation("x", 0.5)  # control steps: shown, covered, swapped
    up = np.array([0.0, 0.0, 1.0])

    def at(step: int, knob: str, distance: float) -> Any:
        env = begin("arm_shell_game", ball=1, swaps=[[1, 3, 1]], row=[0.0, 0.0])
        env.control_step = step
        look(env)  # moves the cups
        put_tool(env, seen(env, knob) + distance * up, hand)
        return env

    env = at(stand, "knob0", 0.2)
    assert seen(env, "ball")[:2] == pytest.approx(seen(env, "knob0")[:2])
    row = sorted((seen(env, f"knob{k}")[1], k) for k in range(4))
    assert row[3][1] == 0  # the ball went from the second slot to the last
    for distance, wanted in ((0.0, "success"), (0.049, "success"), (0.051, "open")):
        assert look(at(stand, "knob0", distance)) == wanted, distance
    for knob in ("knob1", "knob2", "knob3"):
        for distance, wanted in ((0.049, "failure"), (0.051, "open")):
            assert look(at(stand, knob, distance)) == wanted, (knob, distance)
    for step in (0, 21, 22, 30, stand - 1):
        for knob in ("knob1",) if step < 22 else ("knob0", "knob1"):  # its lid is up until then
            assert look(at(step, knob, 0.049)) == "failure", (step, knob)
            assert look(at(step, knob, 0.051)) == "open", (step, knob)
    env = at(stand - 1, "knob0", 0.0)
    look(env)
    env.control_step = stand + 5
    assert look(env) == "failure"  # what was too early stays too early


# ---- things that come and are stopped or caught -----------------------------------------------


def test_arm_block_wants_the_puck_stopped_before_the_goal() -> None:
    env = begin("arm_block")
    assert seen(env, "goal_line")[0] == pytest.approx(0.45)
    for x, vx, wanted in (
        (0.451, 0.5, "success"),
        (0.449, 0.5, "failure"),
        (0.60, -0.019, "success"),
        (0.60, -0.021, "open"),
        (0.449, -1.0, "failure"),
    ):
        env = begin("arm_block")
        put_body(env, "puck", (x, 0.0), (vx, 0.0))
        assert look(env) == wanted, (x, vx)
    for change, wanted in ((0.029, "open"), (0.031, "success"), (-0.031, "success")):  # a touch
        env = begin("arm_block", velocity=[-0.01, 0.1, 0.0])
        put_body(env, "puck", (0.6, 0.0), (-0.01, 0.1 + change))
        assert look(env) == wanted, change


def in_hand(env: Any, point: tuple[float, float, float]) -> np.ndarray:
    """(3,) m of the world: a point in the frame of the hand."""
    hand = env.data.body("hand")
    return hand.xpos + hand.xmat.reshape(3, 3) @ np.array(point)


@pytest.mark.parametrize(
    ("name", "half", "lost_z"), [("arm_catch", 0.085, 0.16), ("arm_parallax", 0.048, 0.20)]
)
def test_a_ball_is_caught_inside_the_basket(name: str, half: float, lost_z: float) -> None:
    """The basket that is drawn: floor 3.5 cm behind the hand's middle, 11 cm deep."""
    env = begin(name)
    assert env.model.geom("basket_floor").size[1:] == pytest.approx([half, half])
    wide = half + 0.009  # a centimetre more than the floor, for the walls lean out
    points = {
        (0.02, 0.0, 0.20): "success",
        (-0.034, 0.0, 0.20): "success",
        (-0.036, 0.0, 0.20): "open",
        (0.074, 0.0, 0.20): "success",
        (0.076, 0.0, 0.20): "open",
    }
    for sign in (-1.0, 1.0):
        points[0.02, sign * wide, 0.20] = points[0.02, 0.0, 0.20 + sign * wide] = "success"
        out = wide + 0.002
        points[0.02, sign * out, 0.20] = points[0.02, 0.0, 0.20 + sign * out] = "open"
    for point, wanted in points.items():
        env = begin(name)
        put_body(env, "ball", in_hand(env, point))
        assert look(env) == wanted, point
    for z, vz, wanted in (
        (lost_z - 0.001, -0.1, "failure"),
        (lost_z + 0.001, -0.1, "open"),
        (lost_z - 0.001, 0.1, "open"),
    ):
        env = begin(name)
        put_body(env, "ball", (1.2, 0.5, z), (0.0, 0.0, vz))
        assert look(env) == wanted, (z, vz)


def beside_the_cup(env: Any, x: float, y: float) -> np.ndarray:
    """(2,) m of the world at which the sliding ball is at x, y in the frame of the hand."""
    hand = env.data.body("hand")
    turn = hand.xmat.reshape(3, 3)
    lift = seen(env, "ball")[2] - hand.xpos[2]
    # world offset (a, b, lift) with turn.T @ offset = (x, y, *)
    return hand.xpos[:2] + np.linalg.solve(turn.T[:2, :2], np.array([x, y]) - turn.T[:2, 2] * lift)


@pytest.mark.parametrize("name", ["arm_occluded", "arm_rebound"])
def test_a_ball_is_met_when_it_has_rested_in_the_cup(name: str) -> None:
    def rests(x: float, y: float, speed: float, looks: int) -> Any:
        env = begin(name)
        put_body(env, "ball", beside_the_cup(env, x, y), (speed, 0.0))
        return env, [look(env) for _ in range(looks)]

    assert rests(0.05, 0.0, 0.1, 3)[1] == ["open", "open", "success"]
    for x, y, speed, wanted in (
        (0.001, 0.0, 0.0, "success"),
        (-0.001, 0.0, 0.0, "open"),
        (0.099, 0.0, 0.0, "success"),
        (0.101, 0.0, 0.0, "open"),
        (0.05, 0.099, 0.0, "success"),
        (0.05, 0.101, 0.0, "open"),
        (0.05, -0.099, 0.0, "success"),
        (0.05, -0.101, 0.0, "open"),
        (0.05, 0.0, 0.49, "success"),
        (0.05, 0.0, -0.49, "success"),
        (0.05, 0.0, 0.51, "open"),
    ):
        assert rests(x, y, speed, 5)[1][-1] == wanted, (x, y, speed)
    env, said = rests(0.05, 0.0, 0.0, 2)
    put_body(env, "ball", beside_the_cup(env, 0.3, 0.0))
    said.append(look(env))
    put_body(env, "ball", beside_the_cup(env, 0.05, 0.0))
    said += [look(env) for _ in range(3)]
    assert said == ["open"] * 5 + ["success"]  # a rest that was broken counts no more
    put_body(env, "ball", beside_the_cup(env, 0.3, 0.0), (2.0, 0.0))
    assert look(env) == "success"  # met is met
    for x, wanted in ((0.461, "success"), (0.459, "failure")):  # unless it runs past
        put_body(env, "ball", (x, 0.6))
        assert look(env) == wanted, x
    env = begin(name)
    put_body(env, "ball", (0.459, 0.0))
    assert look(env) == "failure"


@pytest.mark.parametrize("name", ["arm_occluded", "arm_rebound"])
def test_a_ball_rests_that_goes_with_the_cup(name: str) -> None:
    """The hand swings aside at about 1 m/s, and the ball with it, against it or not at all."""
    for share, wanted in ((1.0, "success"), (0.0, "open"), (-1.0, "open")):
        env = begin(name)
        env.data.qvel[env.model.joint("joint1").dofadr[0]] = 2.0
        mujoco.mj_forward(env.model, env.data)
        aside = float(env.tool_velocity()[1])
        assert 0.8 < aside < 1.4
        put_body(env, "ball", beside_the_cup(env, 0.05, 0.0), (0.0, share * aside))
        assert [look(env) for _ in range(3)][-1] == wanted, share


@pytest.mark.parametrize(
    ("name", "by_aside"), [("arm_occluded", "success"), ("arm_rebound", "open")]
)
def test_a_ball_in_the_cup_that_nothing_touched_is_not_met(name: str, by_aside: str) -> None:
    """A slow ball; in the alley walls turn it about, so only its way along tells of a touch."""
    slow = [-0.2, 0.1, 0.0]
    for velocity, wanted in (
        ((-0.2, 0.1), "open"),
        ((-0.171, 0.1), "open"),
        ((-0.169, 0.1), "success"),
        ((-0.2, -0.1), by_aside),
    ):
        env = begin(name, velocity=slow)
        put_body(env, "ball", beside_the_cup(env, 0.05, 0.0), velocity)
        assert [look(env) for _ in range(3)][-1] == wanted, velocity


def test_arm_swing_wants_the_bob_held_still_between_the_fingers() -> None:
    angle = 0.12
    bob = np.array([0.62, 2.2 * math.sin(angle), 2.68 - 2.2 * math.cos(angle)])

    def hold(off: Any = (0.0, 0.0, 0.0), travel: float = 0.016, rate: float = 0.0) -> Any:
        env = begin("arm_swing")
        q = env.model.joint("swing")
        put_tool(env, bob + off, hand_rotation("x", 0.8))
        put_fingers(env, travel)
        env.data.qpos[q.qposadr[0]], env.data.qvel[q.dofadr[0]] = angle, rate
        mujoco.mj_forward(env.model, env.data)
        assert seen(env, "bob") == pytest.approx(bob)
        return env, [look(env) for _ in range(5)]

    assert hold()[1] == ["open"] * 4 + ["success"]
    for case, wanted in (
        ({"off": (0.034, 0.0, 0.0)}, "success"),
        ({"off": (0.036, 0.0, 0.0)}, "open"),
        ({"off": (0.0, -0.034, 0.0)}, "success"),
        ({"off": (0.0, -0.036, 0.0)}, "open"),
        ({"travel": 0.011}, "success"),
        ({"travel": 0.009}, "open"),
        ({"travel": 0.021}, "success"),
        ({"travel": 0.023}, "open"),
        ({"rate": 0.099}, "success"),
        ({"rate": -0.101}, "open"),
    ):
        assert hold(**case)[1][-1] == wanted, case  # type: ignore[arg-type]
    env, said = hold()
    put_fingers(env, 0.03)
    said.append(look(env))
    put_fingers(env, 0.016)
    said += [look(env) for _ in range(5)]
    assert said[5:] == ["open"] * 5 + ["success"]


def test_arm_swing_is_lost_once_the_bob_has_swung_back() -> None:
    env = begin("arm_swing")
    q, turn_s, turn = env.model.joint("swing").qposadr[0], env._turn_s, env._turn_rad
    env = begin("arm_swing", angle=-env.latent["angle"], speed=-env.latent["speed"])
    assert env._turn_rad == pytest.approx(-turn)
    env = begin("arm_swing")
    late = int(turn_s / DT_S) + 1
    for step, back, wanted in (
        (late, 0.041, "failure"),
        (late, -0.041, "failure"),
        (late, 0.039, "open"),
        (late - 1, 0.041, "open"),
    ):
        env.control_step = step
        env.data.qpos[q] = env._turn_rad + back
        assert look(env) == wanted, (step, back)


# ---- the humanoid -----------------------------------------------------------------------------


def test_humanoid_goalkeeper_wants_the_ball_met_and_before_the_line() -> None:
    env = begin("humanoid_goalkeeper")
    assert seen(env, "line")[0] == pytest.approx(0.12)
    for x, vx, wanted in (
        (0.121, 0.5, "success"),
        (0.119, 0.5, "failure"),
        (0.5, -0.049, "success"),
        (0.5, -0.051, "open"),
        (0.119, -2.0, "failure"),
    ):
        env = begin("humanoid_goalkeeper")
        put_body(env, "ball", (x, 0.0, 1.0), (vx, 0.0, 0.0))
        assert look(env) == wanted, (x, vx)
    for change, wanted in ((0.0, "open"), (0.029, "open"), (0.031, "success"), (-0.009, "open")):
        env = begin("humanoid_goalkeeper", velocity=[-0.04, 0.0, 1.0])
        put_body(env, "ball", (0.5, 0.0, 1.0), (-0.04 + change, 0.0, 0.0))
        assert look(env) == wanted, change
    env = begin("humanoid_goalkeeper", velocity=[-0.01, 0.0, 1.0])
    put_body(env, "ball", (0.5, 0.0, 1.0), (-0.045, 0.0, 0.0))
    assert look(env) == "success"  # a touch from behind is one, too


@pytest.mark.parametrize("side", ["left", "right"])
def test_humanoid_handover_wants_a_hand_at_the_block_while_it_is_offered(side: str) -> None:
    for step, distance, wanted in (
        (42, 0.0, "open"),
        (43, 0.059, "success"),
        (43, 0.061, "open"),
        (45, 0.059, "success"),
        (45, 0.061, "open"),
        (46, 0.0, "failure"),
    ):
        env = begin("humanoid_handover")
        hand = hands_of(env)[side]
        put_body(env, "block", hand + away(distance))
        env.control_step = step
        assert look(env) == wanted, (step, distance)
        if wanted == "success":
            env.control_step = 60
            assert look(env) == "success"
            assert seen(env, "block") == pytest.approx(hands_of(env)[side], abs=1e-6)


def test_humanoid_follow_wants_the_post_met_before_it_is_past() -> None:
    for x, y, wanted in (
        (0.159, 0.0, "success"),
        (0.0, -0.159, "success"),
        (0.112, 0.112, "success"),
        (0.161, 0.0, "failure"),
        (0.114, 0.114, "failure"),
        (0.551, 0.0, "open"),
        (0.549, 0.0, "failure"),
    ):
        env = begin("humanoid_follow")
        put_body(env, "post", (x, y, 0.0))
        assert look(env) == wanted, (x, y)
    for x, y, wanted in ((0.759, -0.3, "success"), (0.761, -0.3, "open"), (0.6, -0.461, "open")):
        env = begin("humanoid_follow")
        env.data.qpos[:2] = 0.6, -0.3  # the robot has walked
        put_body(env, "post", (x, y, 0.0))
        assert look(env) == wanted, (x, y)
    env = begin("humanoid_follow")
    put_body(env, "post", (0.1, 0.0, 0.0))
    look(env)
    put_body(env, "post", (0.3, 1.0, 0.0))
    assert look(env) == "success"  # met is met


def test_humanoid_balance_wants_the_robot_up_at_the_end() -> None:
    for step, wanted in ((249, "open"), (250, "success")):
        env = begin("humanoid_balance")
        env.control_step = step
        assert look(env) == wanted, step


HUMANOIDS = sorted(name for name, entry in TASKS.items() if entry.robot == "humanoid")


@pytest.mark.parametrize("name", HUMANOIDS)
def test_a_fallen_robot_has_failed_whatever_else_it_did(name: str) -> None:
    """Below 55 cm, or tilted by more than 60 degrees to any side."""
    half = math.radians(1.0) / 2
    for height, degrees, axis, fallen in (
        (0.551, 0, 1, False),
        (0.549, 0, 1, True),
        (0.79, 59, 1, False),
        (0.79, 61, 1, True),
        (0.79, -59, 2, False),
        (0.79, -61, 2, True),
        (0.79, 170, 3, False),  # turned round is not fallen
    ):
        env = begin(name)
        env.is_success = lambda: True
        try:
            quat = np.zeros(4)
            quat[0], quat[axis] = math.cos(degrees * half), math.sin(degrees * half)
            env.data.qpos[2], env.data.qpos[3:7] = height, quat
            assert look(env) == ("failure" if fallen else "success"), (height, degrees)
        finally:
            del env.is_success


# ---- how long ---------------------------------------------------------------------------------


def test_every_task_has_two_faults_that_are_planted() -> None:
    """``python tests/tools/planted_faults.py`` plants them; here, that each still fits its file."""
    faults = read_faults()
    counts = Counter(fault.task for fault in faults)
    assert {name: counts[name] for name in TASKS if counts[name] < 2} == {}
    assert set(counts) <= set(TASKS)
    for fault in faults:
        compile(fault.source(), fault.file, "exec")


def test_success_ends_an_episode_when_it_has_lasted_and_failure_at_once() -> None:
    env = begin("arm_reach")
    said = iter([True] * 9 + [False] + [True] * 10)
    env.is_success = lambda: next(said)
    try:
        ends = [env.advance(env.hold_action())[1] for _ in range(20)]
    finally:
        del env.is_success
    assert ends == [False] * 19 + [True]
    assert HOLD_STEPS == 10
    env = begin("arm_reach")
    env.failed = lambda: True
    try:
        reward, terminated, _, info = env.advance(env.hold_action())
    finally:
        del env.failed
    assert terminated
    assert not info["is_success"]
    assert info["progress"] == 0.0
    assert reward <= 0.0
