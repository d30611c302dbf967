"""``python -m neon_sim.collect``: demonstrations of one or more tasks into a LeRobot dataset.

    python -m neon_sim.collect task=arm_catch,arm_block episodes=200 out=data/demos workers=2

Finished episodes lie in ``out/.shards`` until all are there; a run that was stopped, for
whatever reason, is continued by the same command, with nothing lost and nothing twice.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import multiprocessing.connection
import platform
import shutil
import signal
import sys
import time
from collections import defaultdict
from dataclasses import asdict
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tqdm import tqdm
from typing_extensions import TypedDict

from neon_sim.clock import CONTROL_DT_S
from neon_sim.command import entry_point
from neon_sim.config.loading import main_config
from neon_sim.config.policy import flat
from neon_sim.demonstrations.assemble import BUILD_FOLDER, assemble
from neon_sim.demonstrations.dataset import DemoDataset
from neon_sim.demonstrations.layout import INFO_FILE, SHARDS_FOLDER
from neon_sim.demonstrations.record import RECORD_FILE
from neon_sim.demonstrations.recorder import (
    DISK_FULL,
    Done,
    Failed,
    Recorder,
    failed,
    hold_policy,
    run_worker,
)
from neon_sim.demonstrations.settings import CollectConfig
from neon_sim.demonstrations.shards import read_shard, shard_path, write_atomic
from neon_sim.errors import ConfigError, DatasetError, NeonError
from neon_sim.files import LOCK_FILE, hold_folder, locked
from neon_sim.machine import git_commit
from neon_sim.schema import read_json
from neon_sim.simulation.gl import renderer_info

COMMAND = "python -m neon_sim.collect"
BEGUN_FILE = f"{SHARDS_FOLDER}/config.json"
CONTENT_FOLDERS = ("data", "videos", "audio", "meta")
NOT_CONTENT = ("out", "workers")  # settings that do not change what is collected
BAR = (
    "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, ends {eta:%H:%M},"
    " {rate_fmt}{postfix}]"
)


class Begun(TypedDict):
    """What a collection writes down when it begins, and keeps in its record."""

    config: dict[str, Any]
    made_with: dict[str, Any]


@entry_point("collect")
def main(argv: list[str]) -> int:
    """Run the command; returns the exit code. Finished episodes are kept in every case."""
    config = main_config(CollectConfig, argv, None, prog=COMMAND)
    root = Path(config.out)
    try:
        collect(config)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(kept(root)) from None
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        place = error.filename or root
        raise NeonError(f"no space left for {place}; make room; {kept(root)}") from error
    return 0


def say(text: str) -> None:
    """Print a line for the user to standard error."""
    print(f"collect: {text}", file=sys.stderr, flush=True)


def kept(root: Path) -> str:
    """What is safe on disk and how to go on."""
    number = len(list((root / SHARDS_FOLDER).glob("*.npz")))
    return f"{number} finished episodes are kept in {root}; run the same command to continue"


def collect(config: CollectConfig) -> DemoDataset:
    """Collect what is missing and assemble the dataset.

    Returns:
        The finished dataset, opened.

    Raises:
        ConfigError: ``out`` holds a collection with other settings, or something else.
        NeonError: an episode or a worker failed; what is finished is kept.
        OSError: disk full; what is finished is kept.
        KeyboardInterrupt: the same.
    """
    root = Path(config.out)
    hold_folder("out", root)
    if config.policy is not None:
        hold_policy(config.policy)
    check_place(root)
    renderer_info()  # what cannot draw leaves no folder
    with locked(root):
        begun = {"config": content_config(config), "made_with": made_with()}
        if (root / INFO_FILE).exists():
            check_same(root, RECORD_FILE, begun["config"], None)
            for leftover in (SHARDS_FOLDER, BUILD_FOLDER):
                shutil.rmtree(root / leftover, ignore_errors=True)
            dataset = DemoDataset.open(root)
            say(f"{root} is finished already: {dataset.num_episodes} episodes; nothing to do")
            return dataset
        if (root / BEGUN_FILE).exists():
            check_same(root, BEGUN_FILE, begun["config"], begun["made_with"])
        elif any(root.glob(f"{SHARDS_FOLDER}/*.npz")):
            raise DatasetError(
                f"{root} holds finished episodes, and {BEGUN_FILE}, which says of what settings, "
                f"is missing; delete {root / SHARDS_FOLDER}, or collect into another out="
            )
        else:
            write_atomic(root / BEGUN_FILE, json.dumps(begun, indent=2).encode())
        try:
            record_missing(config, root)
        except BaseException:
            forget_nothing(root)
            raise
        return finish(config, root, begun)


def forget_nothing(root: Path) -> None:
    """Where no episode was finished, let another call begin with other settings."""
    if not any((root / SHARDS_FOLDER).glob("*.npz")):
        (root / BEGUN_FILE).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            (root / SHARDS_FOLDER).rmdir()


def check_place(root: Path) -> None:
    """Refuse a folder that holds something other than a collection.

    Raises:
        ConfigError: names the folder and what is in it.
    """
    if root.is_file():
        raise ConfigError(f"out={root} is a file; name a folder")
    ours = {SHARDS_FOLDER, BUILD_FOLDER, ".collect.lock", *CONTENT_FOLDERS}
    others = [p.name for p in root.iterdir() if p.name not in ours] if root.exists() else []
    others = [name for name in others if not name.startswith(LOCK_FILE)]
    begun = (root / BEGUN_FILE).exists() or (root / RECORD_FILE).exists()
    if root.exists() and not begun:
        others += [name for name in CONTENT_FOLDERS if (root / name).exists()]
    if others and not begun:
        raise ConfigError(
            f"out={root} holds {sorted(others)[0]!r} and is no collection; name an empty folder"
        )


def content_config(config: CollectConfig) -> dict[str, Any]:
    """The settings that decide the content, with a digest of a checkpoint they name."""
    content = {k: v for k, v in asdict(config).items() if k not in NOT_CONTENT}
    content["task"] = config.task_names
    for late in ("backbone", "microphones", "flow", "mode", "lower"):
        if not content[late]:
            del content[late]  # as in datasets from before there was such a setting
    if config.policy and Path(config.policy).is_file():
        content["policy_sha256"] = sha256(Path(config.policy).read_bytes()).hexdigest()
    return content


def made_with() -> dict[str, Any]:
    """Versions, renderer and commit, as the dataset records them."""
    packages = ("neon-sim", "mujoco", "numpy", "av", "pyarrow")
    versions = {name: version(name) for name in packages}
    renderer = renderer_info()
    return versions | {
        "python": platform.python_version(),
        "renderer": renderer["backend"],
        "gl_renderer": renderer["gl_renderer"],
        "commit": git_commit() or "unknown",
    }


def check_same(root: Path, name: str, config: dict[str, Any], made: dict[str, Any] | None) -> None:
    """Raise ``ConfigError`` naming the first setting in which a begun collection differs."""
    mend = f"delete {root}, or collect into another out="
    if not (root / name).exists():
        raise ConfigError(
            f"{root} holds a dataset that another tool wrote ({name} is missing); name another out="
        )
    begun = read_json(root / name, Begun, DatasetError, f"the file is damaged: {mend}")
    pairs = [(config, begun["config"], "")]
    if made is not None:
        keys = ("mujoco", "renderer", "gl_renderer")  # what changes pictures or physics
        before = {key: begun["made_with"].get(key) for key in keys}
        pairs.append(({key: made[key] for key in keys}, before, "made with "))
    for now, then, what in pairs:
        now, then = flat(now), flat(then)
        for key in now | then:
            if now.get(key) != then.get(key):
                raise ConfigError(
                    f"{root} was begun with {what}{key}={then.get(key)}, now it is "
                    f"{now.get(key)}; use the same {key}, or another out="
                )


def record_missing(config: CollectConfig, root: Path) -> None:
    """Record every episode that has no sound shard yet.

    Raises:
        NeonError: an episode raised, or a worker died.
    """
    for leftover in (root / SHARDS_FOLDER).glob("*.partial"):
        leftover.unlink()
    total = config.episodes * len(config.task_names)
    missing = [index for index in range(total) if not sound(shard_path(root, index))]
    if not missing:
        return
    if len(missing) < total:
        say(f"continuing {root}: {total - len(missing)} of {total} episodes are there")
    with tqdm(
        total=total,
        initial=total - len(missing),
        unit="ep",
        desc=",".join(config.task_names),
        bar_format=BAR,
        mininterval=0.5 if sys.stderr.isatty() else 10.0,
        dynamic_ncols=True,
    ) as bar:
        tally = Tally(bar)
        if min(config.workers, len(missing)) == 1:
            record_here(config, root, missing, tally)
        else:
            record_in_workers(config, root, missing, tally)


def sound(path: Path) -> bool:
    """Whether a shard is there and undamaged; a damaged one is deleted, to be made again."""
    if not path.exists():
        return False
    try:
        read_shard(path)
    except DatasetError:
        path.unlink()
        return False
    return True


class Tally:
    """Counts what was recorded and shows it on the progress bar."""

    def __init__(self, bar: Any) -> None:
        self.bar = bar
        self.num_rows = self.num_success = self.num_done = 0
        self._since = time.monotonic()

    def add(self, done: Done) -> None:
        """Count one episode."""
        self.num_done += 1
        self.num_rows += done.num_rows
        self.num_success += done.success
        seconds = max(time.monotonic() - self._since, 1e-9)
        speed = self.num_rows * CONTROL_DT_S / seconds
        success = self.num_success / self.num_done
        self.bar.set_postfix_str(f"{speed:.1f} sim s/s, {success:.0%} success", refresh=False)
        self.bar.update()


def record_here(config: CollectConfig, root: Path, indices: list[int], tally: Tally) -> None:
    """Record in this process."""
    recorder = Recorder(config, root)
    try:
        for index in indices:
            try:
                tally.add(recorder.record(index))
            except Exception as error:
                raise failed(index, config, error).error(kept(root)) from error
    finally:
        recorder.close()


def record_in_workers(config: CollectConfig, root: Path, indices: list[int], tally: Tally) -> None:
    """Record in ``config.workers`` spawned processes; the first error stops all of them."""
    context = multiprocessing.get_context("spawn")
    number = min(config.workers, len(indices))
    workers: dict[Any, Any] = {}
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    try:
        for k in range(number):
            ours, theirs = context.Pipe(duplex=False)
            arguments = (config, root, indices[k::number], theirs)
            worker = context.Process(target=run_worker, args=arguments, daemon=True)
            worker.start()
            theirs.close()
            workers[ours] = worker
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        follow(workers, config, root, tally)
    finally:
        for worker in workers.values():
            worker.terminate()
        for worker in workers.values():
            worker.join()


def follow(workers: dict[Any, Any], config: CollectConfig, root: Path, tally: Tally) -> None:
    """Collect reports until every worker has ended.

    Raises:
        NeonError: a report of failure, or a worker that ended without one.
    """
    running = dict(workers)
    while running:
        ready: list[Any] = multiprocessing.connection.wait(list(running))
        for pipe in ready:
            try:
                report = pipe.recv()
            except EOFError:
                worker = running.pop(pipe)
                worker.join()
                if worker.exitcode != 0:
                    raise NeonError(
                        f"a worker died (exit status {worker.exitcode}); {kept(root)}"
                    ) from None
                continue
            if isinstance(report, Failed):
                raise report.error(kept(root))
            tally.add(report)


def finish(config: CollectConfig, root: Path, begun: dict[str, Any]) -> DemoDataset:
    """Assemble the dataset from its shards, open it and say what it holds."""
    total = config.episodes * len(config.task_names)
    paths = [shard_path(root, index) for index in range(total)]
    if config.only_success:
        paths = [path for path in paths if read_shard(path).identity.success]
        if not paths:
            raise NeonError(f"no episode of {total} succeeded; only_success=true leaves none")
    say(f"writing {root}")
    assemble(root, paths, begun)
    dataset = DemoDataset.open(root)
    say(summary(dataset))
    return dataset


def summary(dataset: DemoDataset) -> str:
    """What a dataset holds, as a few lines."""
    groups: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for meta in dataset.episodes:
        groups[meta.task_name, meta.source].append(meta.success)
    size = sum(p.stat().st_size for p in dataset.root.rglob("*") if p.is_file()) / 1e6
    lines = [
        f"{dataset.root}: {dataset.num_episodes} episodes, {dataset.num_rows} rows "
        f"({dataset.num_rows * CONTROL_DT_S:.0f} s), {size:.1f} MB"
    ]
    for (task, source), wins in sorted(groups.items()):
        lines.append(f"  {task:20s} {source:16s} {len(wins):5d} episodes, {sum(wins)} succeed")
    return "\n".join(lines)
