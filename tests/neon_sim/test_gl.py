"""Which renderer is chosen, that its images can be trusted, and the camera without GL."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from world_scene import SCENE

from neon_sim.errors import RendererError, UnknownNameError
from neon_sim.registry import TASKS
from neon_sim.simulation import gl_probe
from neon_sim.simulation.doctor import EXTRAS, Finding, doctor, format_findings, healthy
from neon_sim.simulation.gl import BACKEND, mujoco, renderer_info
from neon_sim.simulation.raycast import RaycastCamera, pixel_rays
from neon_sim.simulation.world import World

NEEDS_GL = pytest.mark.skipif(BACKEND == "raycast", reason="this machine has no GL")
SIZE = 96
HERE = Path(__file__).parents[1] / "support"  # where world_scene is


def _run(code: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run ``code`` in a fresh process whose renderer is decided by ``environ`` alone."""
    gl_words = ("MUJOCO_GL", "NEON_RENDERER", "PYOPENGL_PLATFORM")
    env = {k: v for k, v in os.environ.items() if k not in gl_words} | environ
    return subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=HERE, capture_output=True, text=True
    )


HASH = """
import hashlib, json, sys
from world_scene import SCENE
from neon_sim.simulation.world import World
from neon_sim.simulation.gl import BACKEND
world = World(SCENE)
world.step(world.data.ctrl[None].repeat(40, 0))
frames = b"".join(world.frame("front", tick, 96, 96).tobytes() for tick in (0, 20, 40))
gl = [name for name in sys.modules if name == "OpenGL" or name.startswith("glfw")]
print(json.dumps([BACKEND, hashlib.sha256(frames).hexdigest(), gl]))
"""


# ---- the choice -------------------------------------------------------------------------


@pytest.fixture
def machine(monkeypatch):
    """Pretend that a machine has only the named back ends."""

    def only(*names: str) -> None:
        monkeypatch.setattr(gl_probe, "available", lambda name: name in (*names, "raycast"))

    return only


@pytest.mark.parametrize(
    ("has", "environ", "chosen"),
    [
        (("egl", "osmesa"), {}, "egl"),
        (("osmesa",), {}, "osmesa"),
        ((), {}, "raycast"),
        (("egl", "osmesa"), {"NEON_RENDERER": "osmesa"}, "osmesa"),
        (("egl",), {"NEON_RENDERER": "raycast"}, "raycast"),
        (("egl", "osmesa"), {"MUJOCO_GL": "osmesa"}, "osmesa"),
        (("egl",), {"MUJOCO_GL": "disable"}, "raycast"),
        (("egl",), {"MUJOCO_GL": "glfw", "DISPLAY": ":0"}, "glfw"),
        (("egl",), {"MUJOCO_GL": "glx", "WAYLAND_DISPLAY": "wayland-0"}, "glfw"),
        (("egl",), {"MUJOCO_GL": "on"}, "egl"),
        (("egl", "osmesa"), {"NEON_RENDERER": "egl", "MUJOCO_GL": "osmesa"}, "egl"),
        (("egl", "osmesa"), {"NEON_RENDERER": "auto", "MUJOCO_GL": "osmesa"}, "osmesa"),
    ],
)
def test_the_choice_follows_the_environment_and_the_machine(machine, has, environ, chosen):
    machine(*has)
    assert gl_probe.choose_gl(environ) == chosen


@pytest.mark.skipif(sys.platform != "linux", reason="displays of Linux")
@pytest.mark.parametrize(
    ("environ", "mend"),
    [
        ({"NEON_RENDERER": "egl"}, "apt-get install libegl1"),
        ({"MUJOCO_GL": "egl"}, "apt-get install libegl1"),
        ({"MUJOCO_GL": "enabled"}, "apt-get install libegl1"),
        ({"MUJOCO_GL": "glfw"}, "start a display server"),
    ],
)
def test_asking_for_what_cannot_start_is_an_error_with_the_mend(machine, environ, mend):
    machine()
    with pytest.raises(RendererError, match=mend):
        gl_probe.choose_gl(environ)


def test_an_unknown_renderer_names_the_known_ones():
    with pytest.raises(UnknownNameError, match="Did you mean 'raycast'"):
        gl_probe.choose_gl({"NEON_RENDERER": "raycats"})


def test_the_renderer_says_what_it_is():
    info = renderer_info()
    assert info["backend"] == BACKEND
    assert info["gl_renderer"]
    assert isinstance(info["software"], bool)


def test_an_unknown_platform_of_mujoco_names_the_known_ones():
    with pytest.raises(
        UnknownNameError, match=r"MUJOCO_GL.*Did you mean 'osmesa'.*Known: 0, .* egl"
    ):
        gl_probe.choose_gl({"MUJOCO_GL": "osmessa"})
    assert gl_probe.choose_gl({"MUJOCO_GL": "nope", "NEON_RENDERER": "raycast"}) == "raycast"


@NEEDS_GL
@pytest.mark.parametrize(
    "environ",
    [{"MUJOCO_EGL_DEVICE_ID": "99"}, {"MUJOCO_EGL_DEVICE_ID": "x"}, {"PYOPENGL_PLATFORM": "glx"}],
)
def test_a_context_that_cannot_be_made_is_the_users_to_mend(environ):
    code = """
from world_scene import SCENE
from neon_sim.errors import RendererError
from neon_sim.simulation.gl import renderer_info
from neon_sim.simulation.world import World
for draw in (renderer_info, lambda: World(SCENE).render_now("front", 96, 96)):
    try:
        draw()
    except RendererError as error:
        print(error)
"""
    run = _run(code, NEON_RENDERER="egl", **environ)
    assert run.returncode == 0, run.stderr
    assert not run.stderr
    messages = run.stdout.splitlines()
    assert len(messages) == 2
    assert all("or set NEON_RENDERER=raycast" in message for message in messages)


BLIND = """
import os
import neon_sim.simulation.gl, neon_sim.train
assert neon_sim.simulation.gl.BACKEND == "none"
assert os.environ.get("MUJOCO_GL", "") == "TOLD"  # also for processes it starts
import gymnasium
env = gymnasium.make("neon_sim/ArmReach-v0", disable_env_checker=True)
env.reset(seed=3)[0]["pixels"]["front"]
"""


@pytest.mark.parametrize(
    ("name", "value"), [("NEON_RENDERER", "vulkan"), ("MUJOCO_GL", "nope"), ("MUJOCO_GL", "glfw")]
)
def test_a_wish_that_cannot_be_met_is_told_when_something_is_drawn_and_never_forgotten(name, value):
    told = value if name == "MUJOCO_GL" else ""
    run = _run(BLIND.replace("TOLD", told), **{name: value, "DISPLAY": "", "WAYLAND_DISPLAY": ""})
    assert "Error: " in run.stderr.splitlines()[-1]
    assert name in run.stderr.splitlines()[-1]
    assert "neon_sim.errors." in run.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "words",
    [
        ("neon_sim.collect", "episodes=1"),
        ("neon_sim.pretrain", "steps=1"),
        ("neon_sim.rl", "task=arm_reach"),
        ("neon_sim.train", "steps=1"),
        ("neon_sim.benchmarks.cli", "doctor"),
        ("neon_sim.benchmarks.cli", "list", "tasks"),
        ("neon_sim.benchmarks.balance",),
    ],
)
@pytest.mark.parametrize("name", ["NEON_RENDERER", "MUJOCO_GL"])
def test_every_command_refuses_a_renderer_that_nobody_knows(words, name, monkeypatch, capsys):
    for variable in ("NEON_RENDERER", "MUJOCO_GL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv(name, "nope")
    assert importlib.import_module(words[0]).main(list(words[1:])) == 2
    told = capsys.readouterr()
    assert re.fullmatch(
        rf"(\w+: )?error: unknown renderer \({name}\) 'nope'.*Known: .*\n", told.err
    )
    assert told.out == ""


@pytest.mark.parametrize(("variable", "value"), [("MUJOCO_GL", "nope"), ("MUJOCO_GL", "glfw")])
def test_a_command_in_a_fresh_process_tells_it_in_one_line(variable, value, tmp_path):
    code = "from neon_sim.collect import main; import sys; sys.exit(main(['episodes=1', 'out=%s']))"
    run = _run(code % (tmp_path / "d"), **{variable: value, "DISPLAY": "", "WAYLAND_DISPLAY": ""})
    assert run.returncode == 2
    assert len(run.stderr.splitlines()) == 1
    assert not (tmp_path / "d").exists()


# ---- the order of imports ------------------------------------------------------------------

MAKE = """
import gymnasium, hashlib
env = gymnasium.make("neon_sim/ArmReach-v0", disable_env_checker=True)
pixels = env.reset(seed=3)[0]["pixels"]["front"]
from neon_sim.simulation.gl import BACKEND
print(BACKEND, hashlib.sha256(pixels.tobytes()).hexdigest())
"""
ORDERS = {
    "neon_sim, mujoco": ("import neon_sim, mujoco", {}),
    "mujoco, a room": ("import mujoco, neon_sim.envs.arm.reach", {}),
    "mujoco without GL": (
        "import mujoco, neon_sim, os; del os.environ['MUJOCO_GL']",
        {"MUJOCO_GL": "disable"},
    ),
    "PyOpenGL": ("import OpenGL.GL, mujoco, neon_sim", {}),
    "torch": ("import torch, mujoco, neon_sim, torch.optim", {}),
    "gymnasium's mujoco": ("import gymnasium.envs.mujoco, neon_sim", {}),
}


@NEEDS_GL
@pytest.mark.parametrize("order", ORDERS)
def test_every_order_of_imports_draws_the_same_pixels(order):
    before, environ = ORDERS[order]
    run = _run(f"{before}\n{MAKE}", **environ)
    if run.returncode and order == "PyOpenGL" and mujoco.__version__ < "4":
        assert "RendererError" in run.stderr.splitlines()[-1]  # EGL fails there, and says so
        return
    assert run.returncode == 0, run.stderr
    env = gymnasium.make("neon_sim/ArmReach-v0", disable_env_checker=True)
    pixels = env.reset(seed=3)[0]["pixels"]["front"]
    env.close()
    assert run.stdout.split() == [BACKEND, hashlib.sha256(pixels.tobytes()).hexdigest()]


@NEEDS_GL
def test_a_wish_holds_also_when_mujoco_was_imported_on_another_platform():
    run = _run(f"import mujoco, neon_sim\n{MAKE}", MUJOCO_GL="disable", NEON_RENDERER=BACKEND)
    assert run.stdout.startswith(f"{BACKEND} "), run.stderr
    run = _run(f"import mujoco, neon_sim\n{MAKE}", NEON_RENDERER="raycast")
    assert run.stdout.startswith("raycast "), run.stderr


# ---- images can be trusted --------------------------------------------------------------


@NEEDS_GL
def test_gl_frames_are_equal_in_every_process():
    runs = [_run(HASH, NEON_RENDERER=BACKEND) for _ in range(2)]
    assert not any(run.stderr for run in runs)  # nor any noise at exit
    first, second = (json.loads(run.stdout) for run in runs)
    assert first == second
    world = World(SCENE)
    world.step(world.data.ctrl[None].repeat(40, 0))
    here = b"".join(world.frame("front", tick, 96, 96).tobytes() for tick in (0, 20, 40))
    assert hashlib.sha256(here).hexdigest() == first[1]
    world.close()


def test_raycast_frames_are_equal_in_every_process_and_load_no_gl():
    runs = [_run(HASH, NEON_RENDERER="raycast") for _ in range(2)]
    assert not any(run.stderr for run in runs)
    first, second = (json.loads(run.stdout) for run in runs)
    assert first == second
    assert first[0] == "raycast"
    assert first[2] == []


@NEEDS_GL
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_draws_the_same():
    code = """
import os, sys
from world_scene import SCENE
from neon_sim.simulation.world import World
worlds = [World(SCENE), World(SCENE)]
before = [world.frame("front", 0, 96, 96) for world in worlds]
pid = os.fork()
same = True
for _ in range(3):
    for world, image in zip(worlds, before):
        same &= bool((world.render_now("front", 96, 96) == image).all())
    worlds.append(World(SCENE))
    before.append(image)
if pid == 0:
    os._exit(0 if same else 3)
assert os.waitpid(pid, 0)[1] == 0 and same
"""
    run = _run(code, NEON_RENDERER=BACKEND)
    assert run.returncode == 0, run.stderr


# ---- the camera without GL --------------------------------------------------------------


@pytest.fixture
def world():
    world = World(SCENE)
    yield world
    world.close()


def _raycast(world: World, height: int = SIZE, width: int = SIZE) -> np.ndarray:
    mujoco.mj_forward(world.model, world.data)
    camera = RaycastCamera(world.model, height, width)
    return camera.render(world.data, world.camera_id("front"))


def _centre_of(image: np.ndarray, channel: int) -> np.ndarray:
    """Centre (row, column) of the pixels in which one channel stands out."""
    rest = np.delete(image.astype(int), channel, axis=2).max(axis=2)
    return np.argwhere(image[..., channel].astype(int) - rest > 60).mean(axis=0)


def test_rays_cover_the_field_of_view():
    rays = pixel_rays(90, 120, 60.0).reshape(90, 120, 3)
    assert np.allclose(np.linalg.norm(rays, axis=2), 1.0)
    tangents = -rays[..., :2] / rays[..., 2:]
    half = np.tan(np.radians(30.0))
    assert tangents[0, 0, 1] == pytest.approx(half * (1 - 1 / 90))  # top row, half a pixel in
    assert tangents[0, -1, 0] == pytest.approx(half * 120 / 90 * (1 - 1 / 120))


@NEEDS_GL
@pytest.mark.parametrize("place", [(0, 0, 0.4), (0.3, -0.4, 0.1), (-0.5, 0.5, 0.8), (0, 0.3, 0.9)])
@pytest.mark.parametrize("size", [(96, 96), (120, 160)])
def test_raycast_and_gl_see_things_in_the_same_place(world, place, size):
    world.reset(mocap_pos=np.array([place]))
    by_gl = _centre_of(world.render_now("front", *size), 0)
    by_rays = _centre_of(_raycast(world, *size), 0)
    assert np.abs(by_gl - by_rays).max() < 1.0


@NEEDS_GL
def test_raycast_and_gl_agree_on_colours(world):
    """Away from edges the mean colour of a view differs by a few percent."""
    difference = world.render_now("front", SIZE, SIZE).astype(int) - _raycast(world)
    assert np.median(np.abs(difference)) < 8


def test_hidden_groups_and_transparent_geoms_are_not_drawn(world):
    assert not np.isnan(_centre_of(_raycast(world), 2)).any()
    blue = world.model.geom("blue")
    for change, back in (("group", 4), ("rgba", [0, 0, 1, 0])):
        before = np.copy(getattr(blue, change))
        getattr(blue, change)[:] = back
        with np.errstate(all="ignore"), pytest.warns(RuntimeWarning):
            assert np.isnan(_centre_of(_raycast(world), 2)).all()
        getattr(blue, change)[:] = before


def test_translucent_geoms_let_through_what_lies_behind(world):
    solid = _raycast(world)
    world.model.geom("blue").rgba[3] = 0.0
    gone = _raycast(world)
    world.model.geom("blue").rgba[3] = 0.5
    half = _raycast(world).astype(int)
    changed = (solid != gone).any(axis=2)
    mean = (solid.astype(int) + gone)[changed] / 2
    assert np.abs(half[changed] - mean).max() <= 2
    assert (half[~changed] == solid[~changed]).all()


def test_raycasting_leaves_the_model_as_it_was(world):
    before = world.model.geom_rgba.copy(), world.model.geom_matid.copy()
    _raycast(world)
    assert (world.model.geom_rgba == before[0]).all()
    assert (world.model.geom_matid == before[1]).all()


def test_a_camera_the_rays_cannot_follow_is_an_error(world):
    world.model.cam_sensorsize[0] = [0.01, 0.01]
    with pytest.raises(RendererError, match="perspective camera with fovy"):
        _raycast(world)


# ---- the doctor -------------------------------------------------------------------------


def test_the_doctor_reports_every_subject_and_a_mend_for_what_is_missing():
    findings = doctor()
    names = {finding.name.partition("/")[0].strip() for finding in findings}
    assert {"renderer", "frames", "package", "extra", "disk", "cores", "torch", "weights"} <= names
    assert all(finding.mend for finding in findings if not finding.ok)
    assert not any("//" in finding.name for finding in findings)
    assert not any("neon-sim[" in command for _, command in EXTRAS.values())
    assert "ms" in next(f.value for f in findings if f.name == "frames/raycast")
    assert renderer_info()["backend"] in findings[0].value


def test_the_report_shows_the_mend_and_extras_do_not_make_it_fail():
    extra = Finding("extra/x", False, "not installed", "pip install x", required=False)
    broken = Finding("renderer", False, "none", "apt-get install y")
    text = format_findings([extra, broken])
    assert "-> pip install x" in text
    assert "FAIL renderer" in text
    assert healthy([extra])
    assert not healthy([extra, broken])


# ---- pictures for people -------------------------------------------------------------------


def specks(task: str, steps: int) -> int:
    """Pixels of a task's picture that are in shadow, and at most one beside them is."""
    env: Any = gymnasium.make(
        TASKS[task].env_id, cameras=(), render_mode="rgb_array", disable_env_checker=True
    ).unwrapped
    env.reset(seed=0, options={"episode": 2})
    for _ in range(steps):
        env.advance(env.expert_action())
    shaded = env.render().astype(int).sum(axis=2)
    env.model.light_castshadow[:] = 0
    dark = env.render().astype(int).sum(axis=2) - shaded > 30
    env.close()
    around = sum(np.roll(dark, (i, j), (0, 1)).astype(int) for i in (-1, 0, 1) for j in (-1, 0, 1))
    assert dark.sum() > 200, "there are shadows"
    return int((dark & (around < 3)).sum())


@NEEDS_GL
@pytest.mark.parametrize(
    ("task", "steps"),
    [("humanoid_follow", 50), ("humanoid_goalkeeper", 14), ("arm_rebound", 10)],
)
def test_the_floor_throws_no_shadow_on_itself(task: str, steps: int) -> None:
    """Of 307,200 pixels, edges of shadows leave 73 at most; a stippled floor was 339 and more."""
    assert specks(task, steps) < 150


@NEEDS_GL
def test_only_pictures_for_people_have_their_light_turned(world: World, monkeypatch: Any) -> None:
    before = world.render_now("front", SIZE, SIZE)
    turned: list[Any] = []
    monkeypatch.setattr("neon_sim.simulation.camera.turn_shadows", turned.append)
    for quality in ("fast", "view", "fast", "video"):
        picture = world.render_now("front", SIZE, SIZE, quality)
        assert quality != "fast" or np.array_equal(picture, before)
    assert len(turned) == 2
