"""triton after OpenGL and OpenGL after triton: the same frames, and no process dies.

PyPI's torch for x86-64 Linux brings triton, so this is the installation that most users have. Every
test runs fresh processes, because an import happens once in the life of a process.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from neon_sim.simulation.gl import BACKEND

HERE = Path(__file__).parents[1] / "support"
NEEDS_TRITON = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton is not installed"
)
NEEDS_GL = pytest.mark.skipif(BACKEND == "raycast", reason="this machine has no GL")
GL_WORDS = ("MUJOCO_GL", "NEON_RENDERER", "PYOPENGL_PLATFORM")


def python(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run Python as a user's shell would, who has set nothing about drawing."""
    env = {k: v for k, v in os.environ.items() if k not in GL_WORDS} | environ
    return subprocess.run(
        [sys.executable, *arguments], env=env, cwd=HERE, capture_output=True, text=True
    )


# ---- orders of import ---------------------------------------------------------------------

DRAW = """
import hashlib, sys
from neon_sim.simulation.world import World
from world_scene import SCENE
world = World(SCENE)
print(hashlib.sha256(world.render_now("front", 96, 96).tobytes()).hexdigest())
"""
STEP = """
import torch
weight = torch.nn.Parameter(torch.ones(3))
optimiser = torch.optim.AdamW([weight])
weight.sum().backward()
optimiser.step()
"""
KERNEL = """
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

@triton.jit
def scale(source, target, n, BLOCK: tl.constexpr):
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(target + place, tl.exp(tl.load(source + place, mask=place < n)), mask=place < n)

signature = {"source": "*fp32", "target": "*fp32", "n": "i32", "BLOCK": "constexpr"}
source = ASTSource(scale, signature, {"BLOCK": 128})
assert "ex2" in triton.compile(source, target=GPUTarget("cuda", 80, 32)).asm["ptx"]
"""
USERS_OWN = """
import mujoco
renderer = mujoco.Renderer(mujoco.MjModel.from_xml_string("<mujoco><worldbody/></mujoco>"), 32, 32)
renderer.render()
"""
SB3 = """
import stable_baselines3
stable_baselines3.PPO("MlpPolicy", "Pendulum-v1", n_steps=8, batch_size=8).learn(8)
"""
COMPILED = "import torch\nassert torch.compile(torch.sin)(torch.zeros(4)).sum() == 0\n"
ORDERS = {
    "triton, draw": ("import triton\n", DRAW),
    "draw, triton": (DRAW, "import triton\n"),
    "draw, a kernel, draw": (DRAW, KERNEL, DRAW),
    "a kernel, draw, a kernel": (KERNEL, DRAW, KERNEL),
    "torch, draw, optimiser": ("import torch\n", DRAW, STEP, "import triton\n"),
    "a user's own renderer, draw, triton": (USERS_OWN, DRAW, "import triton\n"),
    "draw, SB3, draw": (DRAW, SB3, "import triton\n", DRAW),
    "draw, torch.compile": (DRAW, COMPILED, "import triton\n"),
}


@pytest.fixture(scope="module")
def frame() -> str:
    """Hash of the frame where there is no triton."""
    run = python("-c", "import sys; sys.modules['triton'] = None\n" + DRAW)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


@NEEDS_TRITON
@NEEDS_GL
@pytest.mark.slow
@pytest.mark.parametrize("order", ORDERS)
def test_no_order_of_imports_kills_the_process_or_changes_a_frame(
    order: str, frame: str, tmp_path: Path
) -> None:
    parts = ORDERS[order]
    script = tmp_path / "script.py"  # triton compiles functions of files only
    check = "\nassert 'triton._C.libtriton' in sys.modules\n"
    script.write_text("\n".join(parts) + check)
    environ = {"PYTHONPATH": str(HERE), "TRITON_CACHE_DIR": str(tmp_path / "cache")}
    if USERS_OWN in parts:
        environ["MUJOCO_GL"] = BACKEND
    run = python(str(script), **environ)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == [frame] * parts.count(DRAW)


# ---- commands -----------------------------------------------------------------------------

SMALL_RL = ("steps=32", "envs=2", "rollout_steps=16", "batch_size=16", "epochs=1", "hidden=[8]")
COUNTS = "clips.counts={arm_catch: 1, arm_occluded: 1}"
SMALL_CLIPS = ("clips.tasks=[arm_catch,arm_occluded]", COUNTS, "clips.procedural=3")


@NEEDS_TRITON
@pytest.mark.slow
def test_rl_on_pixels_trains_beside_triton(tmp_path: Path) -> None:
    words = ("task=arm_reach", "observe=pixels", f"out={tmp_path}", "workers=2")
    run = python("-m", "neon_sim.rl", *words, *SMALL_RL)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "ppo-seed0.safetensors").exists()


@NEEDS_TRITON
@pytest.mark.slow
def test_pretrain_trains_beside_triton(tmp_path: Path) -> None:
    words = (f"out={tmp_path}/out", f"data={tmp_path}/clips", "workers=1", "steps=2", "batch=2")
    run = python("-m", "neon_sim.pretrain", *words, *SMALL_CLIPS)
    assert run.returncode == 0, run.stderr


@NEEDS_TRITON
@pytest.mark.slow
def test_collect_train_and_a_run_with_workers_beside_triton(tmp_path: Path) -> None:
    data, heads = tmp_path / "demos", tmp_path / "heads"
    words: tuple[str, ...] = ("task=arm_block", "episodes=2", "workers=2", f"out={data}")
    run = python("-m", "neon_sim.collect", *words)
    assert run.returncode == 0, run.stderr
    words = ("policy=neon_tiny", "condition=video", f"data={data}", f"out={heads}", "steps=2")
    run = python("-m", "neon_sim.train", *words, "batch_size=8", "val_fraction=0")
    assert run.returncode == 0, run.stderr
    words = ("run", "--policy", "neon_tiny", f"checkpoint={heads}/video-seed0.safetensors")
    more = ("--condition", "video", "--task", "arm_block", "--episodes", "2", "--workers", "2")
    rest = ("--out", str(tmp_path / "run"), "--videos", "0", "--quiet")
    run = python("-m", "neon_sim.benchmarks.cli", *words, *more, *rest)
    assert run.returncode == 0, run.stderr


# ---- the hook, on every machine with a compiler -------------------------------------------

FOREIGN = "int LLVMContextCreate(void) { return 1; }"
OWN = """
#include <Python.h>
int LLVMContextCreate(void) { return 2; }
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "libtriton", NULL, -1, NULL};
PyMODINIT_FUNC PyInit_libtriton(void) {
    PyObject *made = PyModule_Create(&module);
    PyModule_AddIntConstant(made, "whose", LLVMContextCreate());
    return made;
}
"""
ASK = """
import ctypes, sys
foreign, hook = sys.argv[1], sys.argv[2] == "hook"
ctypes.CDLL(foreign, mode=ctypes.RTLD_GLOBAL)
import neon_sim
from neon_sim.simulation.import_order import OwnSymbolsFirst, watch_triton
watch_triton()
assert sum(isinstance(finder, OwnSymbolsFirst) for finder in sys.meta_path) == 1
if not hook:
    sys.meta_path = [f for f in sys.meta_path if not isinstance(f, OwnSymbolsFirst)]
import triton._C.libtriton
print(triton._C.libtriton.whose)
"""


@pytest.mark.skipif(not hasattr(os, "RTLD_DEEPBIND"), reason="not glibc's linker")
@pytest.mark.skipif(shutil.which("cc") is None, reason="no compiler")
def test_a_library_of_triton_finds_its_own_symbols_before_foreign_ones(tmp_path: Path) -> None:
    package = tmp_path / "triton" / "_C"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package.parent / "__init__.py").touch()
    include = f"-I{sysconfig.get_paths()['include']}"
    libraries = (("foreign", FOREIGN, tmp_path), ("libtriton", OWN, package))
    for name, text, folder in libraries:
        source = tmp_path / f"{name}.c"
        source.write_text(text)
        command = ["cc", "-shared", "-fPIC", include, str(source), "-o", f"{folder}/{name}.so"]
        subprocess.run(command, check=True)
    foreign = str(tmp_path / "foreign.so")
    for hook, whose in (("hook", "2"), ("no hook", "1")):
        run = python("-c", ASK, foreign, hook, PYTHONPATH=str(tmp_path))
        assert run.stdout.strip() == whose, run.stderr
