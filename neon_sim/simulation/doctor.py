"""What runs on this machine, what is missing, and the command that mends it.

``neon-bench doctor`` prints this. Back ends are timed in processes of their own, because
MuJoCo binds one for the life of a process.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from neon_sim.errors import NeonError, install_command, install_extra
from neon_sim.simulation.gl_probe import MENDS, available

BACKENDS = ("egl", "osmesa", "raycast")
PACKAGES = (
    "mujoco",
    "gymnasium",
    "numpy",
    "torch",
    "transformers",
    "av",
    "pyarrow",
    "scipy",
    "statsmodels",
    "hydra-core",
    "safetensors",
)
EXTRAS = {  # import name -> (what needs it, command)
    "ray": ("running on Ray", install_extra("ray")),
    "matplotlib": ("plots", install_extra("viz")),
    "soundfile": ("sound in datasets", install_extra("sound")),
    "onnxruntime": ("the speech embedding", install_extra("sound")),
    "openwakeword": (
        "the speech embedding's weights",
        install_command("openwakeword==0.5.1", options="--no-deps"),
    ),
    "lerobot": ("checking datasets with LeRobot's own reader", "pip install lerobot"),
}
WEIGHTS = ("neon_tiny", "neon_tiny_image")
MIN_FREE_GIB = 2.0
SLOW_MS = {(96, 96): 10.0, (480, 640): 100.0}
PROBE_TIMEOUT_S = 120
GPU_MEND = "install the GPU's driver with EGL, for example apt-get install libnvidia-gl-<version>"

# A table, an arm of capsules and some objects: about what a frame of a task costs.
_PROBE_SCENE = (
    "<mujoco><worldbody><light pos='0 0 3'/><camera name='front' pos='1.5 0 1' "
    "xyaxes='0 1 0 -0.55 0 0.83'/><geom type='plane' size='2 2 0.1'/>"
    + "".join(
        f"<geom type='{('sphere', 'capsule', 'box')[i % 3]}' size='0.05 0.08 0.05' "
        f"pos='{0.1 * (i % 4)} {0.12 * (i - 10)} {0.1 + 0.05 * (i % 5)}'/>"
        for i in range(20)
    )
    + "</worldbody></mujoco>"
)


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report.

    Attributes:
        name: what was looked at.
        ok: False when something is missing or slow.
        value: what was found.
        mend: the command that mends it; empty when there is nothing to mend.
        required: False for extras, whose absence is no failure.
    """

    name: str
    ok: bool
    value: str
    mend: str = ""
    required: bool = True


def time_frames(repeats: int = 30) -> dict[str, float]:
    """Milliseconds a frame on this process' back end, by size (``"96x96"``)."""
    from neon_sim.simulation.world import World

    world, found = World(_PROBE_SCENE), {}
    for height, width in SLOW_MS:
        count = repeats if height < 200 else max(3, repeats // 6)
        world.render_now("front", height, width)
        started = time.perf_counter()
        for _ in range(count):
            world.render_now("front", height, width)
        found[f"{height}x{width}"] = (time.perf_counter() - started) / count * 1e3
    world.close()
    return found


def _probe_here() -> None:
    """Body of the timing process: print the renderer and its times as JSON."""
    from neon_sim.simulation.gl import renderer_info

    print(json.dumps({"renderer": renderer_info(), "ms": time_frames()}))


def _probe(backend: str) -> dict[str, Any]:
    """Time one back end in a process of its own.

    Returns:
        ``renderer`` and ``ms``, or ``error`` with the last line it said.
    """
    if not available(backend):
        return {"error": "cannot start here"}
    env = {k: v for k, v in os.environ.items() if k not in ("MUJOCO_GL", "PYOPENGL_PLATFORM")}
    command = [
        sys.executable,
        "-c",
        "from neon_sim.simulation.doctor import _probe_here; _probe_here()",
    ]
    try:
        done = subprocess.run(
            command,
            env={**env, "NEON_RENDERER": backend},
            capture_output=True,
            text=True,
            timeout=PROBE_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"no frame within {PROBE_TIMEOUT_S} s"}
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return {"error": lines[-1] if lines else f"exit code {done.returncode}"}
    measured: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return measured


def check_chosen_renderer() -> list[Finding]:
    """The back end this process draws with, and whether a GPU does it."""
    try:
        from neon_sim.simulation.gl import renderer_info

        info = renderer_info()
    except NeonError as error:
        return [Finding("renderer", False, str(error), "set NEON_RENDERER=auto")]
    value = f"{info['backend']}: {info['gl_renderer']}"
    if info["backend"] == "raycast":
        value += " (no shadows, no texture detail)"
        return [Finding("renderer", True, value, MENDS["egl"])]
    if info["software"] and _has_gpu():
        return [Finding("renderer", False, f"{value}: software, beside a GPU", GPU_MEND)]
    if info["software"]:
        value += " (software: the CPU draws; fine for 96 px, 40-400 times slower than a GPU)"
    return [Finding("renderer", True, value)]


def _has_gpu() -> bool:
    return any(Path("/dev").glob("nvidia[0-9]*"))


def check_backends() -> list[Finding]:
    """Every back end that starts here, with milliseconds a frame."""
    findings = []
    for backend in BACKENDS:
        found = _probe(backend) if available(backend) else dict[str, Any](error="cannot start here")
        if "error" in found:
            findings.append(
                Finding(f"frames/{backend}", False, found["error"], MENDS.get(backend, ""), False)
            )
            continue
        times = ", ".join(f"{size} {ms:.1f} ms" for size, ms in found["ms"].items())
        limits = zip(found["ms"].values(), SLOW_MS.values(), strict=True)
        slow = backend != "raycast" and any(ms > limit for ms, limit in limits)
        mend = "set LP_NUM_THREADS=0, and look for other load on this machine" if slow else ""
        findings.append(Finding(f"frames/{backend}", not slow, times, mend, False))
    return findings


def check_packages() -> list[Finding]:
    """Versions of what a plain install holds, and the extras that are missing."""
    findings = []
    for package in PACKAGES:
        try:
            version = importlib.metadata.version(package)
            findings.append(Finding(f"package/{package}", True, version))
        except importlib.metadata.PackageNotFoundError:
            mend = install_command(package)
            findings.append(Finding(f"package/{package}", False, "not installed", mend))
    for module, (use, command) in EXTRAS.items():
        there = importlib.util.find_spec(module) is not None
        value = "installed" if there else f"not installed (only for {use})"
        mend = "" if there else command
        findings.append(Finding(f"extra/{module}", there, value, mend, required=False))
    return findings


def check_machine(folder: Path | None = None) -> list[Finding]:
    """Disk space where results go and where temporary files go, cores, torch's threads."""
    findings = []
    for place in dict.fromkeys((folder or Path.cwd(), Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(place).free / 2**30
        mend = "" if free >= MIN_FREE_GIB else f"free {MIN_FREE_GIB:.0f} GiB, or use another disk"
        findings.append(Finding(f"disk {place}", not mend, f"{free:.1f} GiB free", mend))
    cores = len(os.sched_getaffinity(0))
    findings.append(Finding("cores", True, str(cores)))
    try:
        import torch
    except ImportError as error:
        return [*findings, Finding("torch", False, str(error), install_command("torch"))]
    device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "CPU"
    threads = torch.get_num_threads()
    too_many = threads > cores
    mend = f"export OMP_NUM_THREADS={cores}" if too_many else ""
    findings.append(Finding("torch", not too_many, f"{device}, {threads} threads", mend))
    return findings


def check_weights() -> list[Finding]:
    """Whether the embedded backbones are there."""
    findings = []
    for name in WEIGHTS:
        file = resources.files("neon_sim.assets") / "backbones" / f"{name}.safetensors"
        there = file.is_file()
        value = f"{len(file.read_bytes()) / 2**20:.1f} MiB" if there else "missing"
        mend = "" if there else "python -m neon_sim.pretrain"
        findings.append(Finding(f"weights/{name}", there, value, mend))
    return findings


CHECKS: tuple[Callable[[], list[Finding]], ...] = (
    check_chosen_renderer,
    check_backends,
    check_packages,
    check_machine,
    check_weights,
)


def doctor() -> list[Finding]:
    """Run every check; takes a few seconds."""
    return [finding for check in CHECKS for finding in check()]


def healthy(findings: list[Finding]) -> bool:
    """Whether everything that is required is there."""
    return all(finding.ok for finding in findings if finding.required)


def format_findings(findings: list[Finding]) -> str:
    """The report as text: one line a finding, the mend under what needs one."""
    width = max(len(finding.name) for finding in findings)
    lines = []
    for finding in findings:
        mark = "ok  " if finding.ok else "FAIL" if finding.required else "--  "
        lines.append(f"{mark} {finding.name:<{width}}  {finding.value}")
        if finding.mend:
            lines.append(f"     {'':<{width}}  -> {finding.mend}")
    return "\n".join(lines)
