"""The house rules: rooms are links, imports follow the law, the wheel holds one package."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from neon_sim.config.loading import config_names
from neon_sim.errors import install_command, install_extra
from neon_sim.registry import BACKBONES, CONNECTORS, FUSIONS, HEADS, TASKS

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("envs", "policies", "benchmarks", "assets", "configs")
MAX_LINES = 500


def repository_files() -> list[Path]:
    """Files of the repository: what git does not ignore; without git, all but the venv."""
    if (ROOT / ".git").exists():
        command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others"]
        command += ["--exclude-standard"]
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]
    return [
        path
        for path in ROOT.rglob("*")
        if path.is_file() and not path.parts[len(ROOT.parts)].startswith(".venv")
    ]


def sources(*folders: str) -> list[Path]:
    """Python files below top-level folders, links not followed."""
    found: list[Path] = []
    for folder in folders:
        for directory, names, files in os.walk(ROOT / folder):
            names[:] = [n for n in names if n != "__pycache__"]
            found.extend(Path(directory) / f for f in files if f.endswith(".py"))
    return sorted(found)


def imported_modules(path: Path, package: str) -> Iterator[tuple[str, bool]]:
    """Absolute names of the modules a file imports, and whether the import was relative."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, False
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                parent = ".".join(parts[: len(parts) - node.level + 1])
                base = f"{parent}.{base}".rstrip(".")
            yield base, bool(node.level)
            for alias in node.names:
                yield f"{base}.{alias.name}", bool(node.level)


def room_of(module: str) -> str | None:
    """The room an absolute module name lies in, if any."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "neon_sim" and parts[1] in ROOMS else None


def package_of(path: Path, top: str = "") -> str:
    """Dotted package of a file in a room, through the namespace, or of one below ``top``."""
    below = path.relative_to(ROOT / top).parent.parts
    return ".".join(("neon_sim", *below))


@pytest.mark.parametrize("room", ROOMS)
def test_links_are_the_rooms(room: str) -> None:
    link = ROOT / "neon_sim" / room
    assert link.is_symlink()
    assert os.readlink(link) == f"../{room}"
    assert link.samefile(ROOT / room)
    assert (ROOT / room / "__init__.py").is_file()


def test_the_ground_imports_no_room() -> None:
    broken = [
        f"{path.name}: {module}"
        for path in sources("neon_sim")
        for module, _ in imported_modules(path, package_of(path, "neon_sim"))
        if room_of(module)
    ]
    assert not broken


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_the_ground_absolutely_and_itself_relatively(room: str) -> None:
    broken = []
    for path in sources(room):
        for module, relative in imported_modules(path, package_of(path)):
            target = room_of(module)
            own_main = path.name == "__main__.py"
            if module.partition(".")[0] in ROOMS:
                broken.append(f"{path.relative_to(ROOT)}: {module} without neon_sim.")
            elif target not in (None, room):
                broken.append(f"{path.relative_to(ROOT)}: {module} is another room")
            elif target == room and not relative and not own_main:
                broken.append(f"{path.relative_to(ROOT)}: {module} should be relative")
            elif target is None and relative and module.startswith("neon_sim"):
                broken.append(f"{path.relative_to(ROOT)}: {module} should be absolute")
    assert not broken


def test_every_folder_with_code_is_a_package() -> None:
    folders = {path.parent for path in sources(*ROOMS)}
    assert [str(f) for f in sorted(folders) if not (f / "__init__.py").is_file()] == []


def test_files_stay_readable() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in sources("neon_sim", *ROOMS)
        if (lines := len(path.read_text().splitlines())) > MAX_LINES
    }
    assert long == {}


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in sources("neon_sim", *ROOMS, "tests")
        if not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


def test_no_hash_and_no_global_random_state() -> None:
    pattern = re.compile(r"(?<![\w.])hash\(|np\.random\.(seed|rand|randn|randint|uniform)\(")
    broken = [
        str(path.relative_to(ROOT))
        for path in sources("neon_sim", *ROOMS)
        if pattern.search(path.read_text())
    ]
    assert broken == []


def test_every_registered_target_exists() -> None:
    targets = {entry.entry_point for entry in TASKS.values()}
    for registry in (BACKBONES, CONNECTORS, FUSIONS, HEADS):
        assert all(registry.resolve(name) is not None for name in registry)
    for target in targets:
        module, _, name = target.partition(":")
        assert (ROOT / Path(*module.split(".")[1:])).with_suffix(".py").is_file(), target
        assert re.fullmatch(r"[A-Z]\w+", name)


def test_nothing_names_a_machine() -> None:
    home = re.compile(rb"/(?:home|Users|root|work)/[\w.-]+")
    suffixes = {
        ".py",
        ".md",
        ".toml",
        ".yaml",
        ".txt",
        ".json",
        ".xml",
        ".html",
        ".jsonl",
        ".safetensors",
        "",
    }
    guilty = {
        str(path.relative_to(ROOT)): match[0].decode()
        for path in repository_files()
        if path.suffix in suffixes
        and path != Path(__file__)
        and (match := home.search(path.read_bytes()))
    }
    assert guilty == {}


def test_map_names_every_top_level_entry() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    drawn = text.partition("<!-- map -->")[2].partition("<!-- /map -->")[0]
    tops = {path.relative_to(ROOT).parts[0] for path in repository_files()}
    missing = sorted(
        t for t in tops if not t.startswith(".") and t not in f"{drawn} CONTRIBUTING.md"
    )
    assert missing == []


def test_map_has_one_line_for_every_folder_of_source_and_no_other() -> None:
    """CONTRIBUTING's map: indented folders below the room that they lie in."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    listed, above = [], [""] * 3
    for line in text.partition("<!-- map -->")[2].partition("<!-- /map -->")[0].splitlines():
        if match := re.match(r"( *)([a-z_]+)/ +\S", line):
            depth = len(match[1]) // 2
            above[depth] = f"{above[depth - 1]}/{match[2]}" if depth else match[2]
            listed.append(above[depth])
    source = {str(p.parent.relative_to(ROOT)) for p in sources("neon_sim", *ROOMS)}
    source -= {"assets/words"}
    others = {"assets", "configs", "tests", "docs", "benchmarks/reproduce"}
    assert sorted(listed) == sorted(source | others)


def test_the_readme_is_a_screen_and_a_half() -> None:
    assert 60 <= len((ROOT / "README.md").read_text().splitlines()) <= 90


def test_readme_links_lead_somewhere() -> None:
    for document in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text()):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name}: {target}"


@pytest.mark.skipif(
    os.environ.get("NEON_MATRIX_LEG", "").startswith("lowest"), reason="other versions on purpose"
)
def test_the_pins_hold_here() -> None:
    """The constraints file pins what runs: every pinned package that is installed fits."""
    from importlib.metadata import PackageNotFoundError, version

    pins = re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M)
    assert ("torch", "2.13.0") in pins
    wrong = {}
    for name, pin in pins:
        try:
            installed = version(name).partition("+")[0]
        except PackageNotFoundError:
            continue
        if installed != pin:
            wrong[name] = installed
    assert wrong == {}


def test_install_commands_run_from_anywhere_in_a_clone(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(ROOT)
    assert install_extra("sound") == 'pip install -c constraints.txt -e ".[sound]"'
    assert install_command("ray") == "pip install -c constraints.txt ray"
    clone = tmp_path / "my clone"
    clone.symlink_to(ROOT)
    monkeypatch.chdir(clone)
    assert install_extra("sound") == 'pip install -c constraints.txt -e ".[sound]"'
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("neon_sim.errors.clone_root", lambda: clone)
    words = shlex.split(install_extra("sound"))
    assert words == ["pip", "install", "-c", f"{clone}/constraints.txt", "-e", f"{clone}[sound]"]
    assert all(Path(word.removesuffix("[sound]")).exists() for word in (words[3], words[5]))
    monkeypatch.setattr("neon_sim.errors.clone_root", lambda: None)
    assert install_extra("sound") == 'pip install "neon-sim[sound]"'
    assert install_command("x==1.*", options="--no-deps") == "pip install --no-deps 'x==1.*'"


@pytest.mark.slow
def test_the_wheel_is_one_package_and_works_alone(tmp_path: Path) -> None:
    """Build the wheel, unpack it elsewhere, and run from there without the repository."""
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    source = tmp_path / "source"
    _export(source)
    subprocess.run([*build, "-w", str(tmp_path), str(source)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"neon_sim"}
    assert not [name for name in names if name.endswith(".pyc") or name.startswith("tests")]
    for path in repository_files():
        parts = path.relative_to(ROOT).parts
        if parts[0] in ROOMS:
            assert "/".join(("neon_sim", *parts)) in names, f"{path} is not in the wheel"
    assert _run_from_wheel(tmp_path) == {
        "tasks": sorted(TASKS),
        "policies": config_names("policy"),
        "robot": True,
        "mends": [
            'pip install "neon-sim[sound]"',
            "pip install --no-deps openwakeword==0.5.1",
            "pip install --no-deps 'torchvision==0.*.*'",
        ],
    }


def _export(target: Path) -> None:
    """Copy the repository's files, links as links, so that a build leaves no trace here."""
    for path in [*repository_files(), *(ROOT / "neon_sim" / room for room in ROOMS)]:
        copy = target / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            copy.symlink_to(os.readlink(path))
        else:
            copy.write_bytes(path.read_bytes())


def _run_from_wheel(folder: Path) -> dict[str, object]:
    """Import the unpacked wheel in a fresh process, draw a frame, load the configs."""
    code = """
import json, pathlib, sys
sys.path.insert(0, str(pathlib.Path("site").resolve()))
import gymnasium, neon_sim
assert pathlib.Path(neon_sim.__file__).is_relative_to(pathlib.Path("site").resolve())
from neon_sim.config.policy import PolicyConfig, config_names, load_config
from neon_sim.registry import TASKS
policies = config_names("policy")
for name in policies:
    load_config(PolicyConfig, "policy", name, [])
env = gymnasium.make(TASKS["arm_reach"].env_id)
observation, _ = env.reset(seed=0)
drawn = observation["pixels"]["front"].std() > 1
import re
from neon_sim.simulation.doctor import EXTRAS
from neon_sim.policies.backbones.encoders.torchvision_video import INSTALL
mends = [EXTRAS["soundfile"][1], EXTRAS["openwakeword"][1], re.sub(r"0\\.\\d+", "0.*", INSTALL)]
found = {"tasks": sorted(TASKS), "policies": policies, "robot": bool(drawn), "mends": mends}
print(json.dumps(found))
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_ci_runs_the_verbs_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    verbs = set(re.findall(r"^(\w+):", makefile, re.M))
    assert {"help", "demo", "test", "lint", "bench"} <= verbs
    used = set(re.findall(r"\bmake (\w+)", (ROOT / ".ci" / "run").read_text()))
    assert used == {"lint", "test"}
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_a_second_setup_does_nothing(tmp_path: Path) -> None:
    """The stamp is newer than what it depends on: make has nothing to install."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    stamp = tmp_path / ".venv" / ".installed"
    stamp.parent.mkdir()
    stamp.touch()
    command = ["make", "-C", str(tmp_path), "-n", "test"]
    planned = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "pip install" not in planned
    assert "-m pytest" in planned
