"""Plays a fixed set through the public commands and keeps hashes of what came out.

    python tests/frozen/play.py --work runs/frozen --out before.json
    python tests/frozen/play.py --work runs/frozen2 --out after.json --against before.json

It imports nothing of the project, so it runs on any checkout, whatever its modules are called:
every step is a command (``neon-bench``, ``python -m neon_sim...``) of the interpreter that runs
this script, or of ``--python``. A step that is done is not computed again: a stopped run goes on.
Compared are rows (without timing), decoded datasets, tensors of heads, summaries, certificates and
the text of a report. Exit code: 0, or 1 where something differs from ``--against``.

Takes about ten minutes on one core. Hashes hold for one machine, one renderer and one set of
package versions: compare two commits in the same place.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import contents

BENCH, RUN = "neon-bench", ("run", "--quiet", "--videos", "0")
MODULE = "-m"
ARM = "arm_reach,arm_pick_place,arm_block,arm_catch,arm_conveyor_pick,arm_occluded"
ABILITIES = "arm_shell_game,arm_rebound,arm_parallax,arm_swing"
SOUND = "arm_rattle,arm_ringing,arm_material,arm_tone_order,arm_latch,arm_spoken,arm_audio_visual"
HUMANOID = (
    "humanoid_reach,humanoid_goalkeeper,humanoid_handover,humanoid_follow,humanoid_alarm,"
    "humanoid_balance"
)
LADDER = "blind,frame,stack,video,video_repeat,video_shuffle,repeat_at_test,shuffle_at_test"
SETTINGS = {
    "alone": ("--workers", "1", "--batch", "1"),
    "batched": ("--workers", "1", "--batch", "8"),
    "pooled": ("--workers", "2", "--batch", "3"),
}
HEAD = "checkpoint={work}/%s/{{condition}}-seed{{train_seed}}.safetensors"


@dataclass(frozen=True)
class Step:
    """One command and what is kept of it.

    Attributes:
        name: also the folder that it writes, below the working folder.
        command: ``{work}`` is the working folder, ``{out}`` the step's own.
        kind: a reader of ``contents.READERS``.
        codes: exit codes that are no surprise.
    """

    name: str
    command: tuple[str, ...]
    kind: str
    codes: tuple[int, ...] = (0,)


def run_step(name: str, setting: str, *words: str, codes: tuple[int, ...] = (0,)) -> Step:
    """A run of policies."""
    command = (BENCH, *RUN, *SETTINGS[setting], "--out", "{out}", *words)
    return Step(name, command, "run", codes)


def module_step(name: str, kind: str, module: str, *words: str) -> Step:
    """A ``python -m`` command with ``out=``."""
    return Step(name, (MODULE, f"neon_sim.{module}", *words, "out={out}"), kind)


def player_steps() -> list[Step]:
    """Everything that plays without training."""
    every = f"{ARM},{ABILITIES},{SOUND},{HUMANOID}"
    oracles = "neon_tiny,oracle_memoryless,oracle_history"
    same: tuple[str, ...] = ("--policy", "neon_tiny,expert", "--condition", "frame,video")
    same += ("--task", "arm_block,arm_catch,arm_shell_game", "--episodes", "3", "--seed", "7")
    return [
        run_step(
            *("scripted", "batched", "--policy", "expert,random,hold", "--task", every),
            *("--episodes", "2", "--seed", "1"),
        ),
        run_step(
            *("ladder", "pooled", "--policy", oracles, "--condition", LADDER, "--task", ARM),
            *("--episodes", "1", "--seed", "2"),
        ),
        run_step(
            *("abilities", "alone", "--policy", "neon_tiny", "--task", ABILITIES),
            *("--condition", "frame,video,video_repeat", "--episodes", "1", "--seed", "3"),
        ),
        *(run_step(f"same_{setting}", setting, *same) for setting in SETTINGS),
        run_step(
            *("sweep", "batched", "--policy", "expert", "--task", "arm_latch,humanoid_goalkeeper"),
            *("--replan-steps", "1,8", "--latency-steps", "0,5", "--episodes", "1"),
        ),
        run_step(
            *("blended", "pooled", "--policy", "neon_tiny", "--condition", "video"),
            *("--task", "arm_catch", "--episodes", "3", "--latency-steps", "3"),
            *("blending=linear", "start_noise=0.05", "replan_steps=4"),
        ),
        run_step(
            *("standing", "alone", "--policy", "expert,random", "--task", "humanoid_handover"),
            *("--episodes", "1", "lower=standing", "mode=upper_body"),
        ),
        run_step(
            *("decided", "batched", "--policy", "expert,hold", "--task", "arm_block"),
            *("--episodes", "60", "--until-decided"),
        ),
    ]


def trained_steps() -> list[Step]:
    """What is collected and trained, and plays then."""
    few = ("steps=6", "batch_size=16", "threads=1")
    return [
        module_step(
            *("data_arm", "dataset", "collect", "task=arm_block,arm_catch", "episodes=3", "seed=4")
        ),
        module_step(
            *("data_sound", "dataset", "collect", "task=arm_latch", "episodes=3", "workers=2")
        ),
        module_step(
            *("data_flow", "dataset", "collect", "task=arm_swing", "episodes=2", "flow=true")
        ),
        module_step(
            *("data_dagger", "dataset", "collect", "task=arm_block", "episodes=2"),
            *("policy=neon_tiny", "condition=frame", "beta=0.5"),
        ),
        module_step(
            *("data_body", "dataset", "collect", "task=humanoid_reach", "episodes=2"),
            "mode=upper_body",
        ),
        *(
            module_step(
                *(f"head_{head}", "weights", "train", f"policy=neon_tiny{head and '_' + head}"),
                *("data={work}/data_arm", *few),
            )
            for head in ("", "flow", "tokens", "moma", "diffusion")
        ),
        module_step(
            *("head_conv_gru", "weights", "train", "policy=mech_conv_gru"),
            *("data={work}/data_arm", *few),
        ),
        module_step(
            *("head_told", "weights", "train", "policy=mech_two_stream_flow"),
            *("data={work}/data_flow", *few),
        ),
        module_step(
            *("head_hear", "weights", "train", "policy=neon_tiny_hear"),
            *("data={work}/data_sound", *few),
        ),
        module_step(
            *("head_body", "weights", "train", "policy=neon_tiny", "condition=frame"),
            *("data={work}/data_body", *few),
        ),
        run_step(
            *("hearing", "batched", "--policy", "neon_tiny_hear", "--task", "arm_latch"),
            *("--condition", "video,swap_audio_at_test,mute_at_test", "--episodes", "2"),
            HEAD % "head_hear",
        ),
        run_step(
            *("told", "pooled", "--policy", "mech_two_stream_flow", "--task", "arm_swing"),
            *("--episodes", "2", HEAD % "head_told"),
        ),
        run_step(
            *("body", "batched", "--policy", "neon_tiny", "--condition", "frame"),
            *("--task", "humanoid_reach", "--episodes", "2", "mode=upper_body"),
            HEAD % "head_body",
        ),
        Step("pretrain_clips", PRETRAIN, "weights"),
        module_step(
            *("ppo", "weights", "rl", "task=arm_reach", "steps=512", "envs=2"),
            *("rollout_steps=128", "batch_size=64", "epochs=2"),
        ),
        run_step(
            *("played_ppo", "batched", "--policy", "ppo", "--task", "arm_reach", "--episodes", "2"),
            "checkpoint={work}/ppo/ppo-seed0.safetensors",
        ),
        *foundation_steps("vjepa2", "video", few, 96),
        *foundation_steps("qwen_vl_3b", "frame", few, 112),
    ]


PRETRAIN = (
    *(MODULE, "neon_sim.pretrain", "backbone=neon_tiny", "clips.procedural=6", "clips.per_task=1"),
    *("data={work}/pretrain_data", "steps=4", "batch=4", "workers=1", "threads=1", "out={out}"),
)


def foundation_steps(name: str, condition: str, few: tuple[str, ...], size: int) -> list[Step]:
    """A foundation model with random weights of ``size`` pixels: drawn, trained behind, played."""
    folder = f"{{work}}/random_{name}"
    own = (f"backbone.model_id={folder}", f"backbone.image_size={size}")
    clip = ("clip.image_size=64",) if size == 64 else ()
    random = (MODULE, "neon_sim.policies.backbones.random_weights", name, "{out}")
    return [
        module_step(
            *(f"data_{size}", "dataset", "collect", "task=arm_block", "episodes=2"),
            f"image_size={size if clip else 96}",
        ),
        Step(f"random_{name}", random, "weights"),
        module_step(
            *(f"head_{name}", "weights", "train", f"policy={name}", f"condition={condition}"),
            *(*own, *(f"policy.{word}" for word in clip), f"data={{work}}/data_{size}", *few),
        ),
        run_step(
            *(f"played_{name}", "batched", "--policy", name, "--condition", condition),
            *("--task", "arm_block", "--episodes", "2", *own, *clip, HEAD % f"head_{name}"),
        ),
    ]


def proof_steps() -> list[Step]:
    """Certificates, summaries and a report."""
    certify: tuple[str, ...] = (
        BENCH,
        "certify",
        "--quiet",
        *SETTINGS["batched"],
        "--out",
        "{out}/proofs",
    )
    certify += ("--run", "{out}/runs", "--episodes", "4", "--seed", "5")
    return [
        Step("certify", (*certify, "--task", "arm_block,arm_reach"), "certificates", (0, 1)),
        Step("compared", (BENCH, "compare", "{work}/ladder", "--json"), "json_output"),
        Step("compared_text", (BENCH, "compare", "{work}/ladder"), "text_output"),
        Step(
            "compared_two",
            (BENCH, "compare", "{work}/same_alone", "{work}/same_pooled", "--json"),
            "json_output",
        ),
        Step("report_ladder", (BENCH, "report", "{out}", "--videos", "0"), "report"),
        Step("report_abilities", (BENCH, "report", "{out}", "--videos", "1"), "report"),
        Step("listed", (BENCH, "list", "tasks"), "text_output"),
        Step("listed_backbones", (BENCH, "list", "backbones"), "text_output"),
    ]


REPORTED = {"report_ladder": "ladder", "report_abilities": "abilities"}  # copies of these runs


def all_steps() -> list[Step]:
    """The set, in its order."""
    return [*player_steps(), *trained_steps(), *proof_steps()]


def compute(step: Step, work: Path, python: str) -> dict[str, Any]:
    """Run one command and hash what came out.

    Raises:
        SystemExit: another exit code than expected.
    """
    out = work / step.name
    shutil.rmtree(out, ignore_errors=True)
    if step.name in REPORTED:
        contents.copy_without_time(work / REPORTED[step.name], out)
    places = {"work": str(work), "out": str(out)}
    words = [word.format(**places) for word in step.command]
    if words[0] == MODULE:
        command = [python, *words]
    else:
        command = [python, MODULE, "neon_sim.benchmarks.cli", *words[1:]]
    began = cpu_s()
    done = subprocess.run(command, cwd=work, env=environment(), capture_output=True, text=True)
    if done.returncode not in step.codes:
        raise SystemExit(
            f"{step.name} ended with {done.returncode}: {' '.join(command)}\n{done.stderr[-2000:]}"
        )
    found = contents.READERS[step.kind](out, done.stdout, work)
    return {
        "exit_code": done.returncode,
        "num_rows": contents.count_rows(out),
        "cpu_s": round(cpu_s() - began, 1),
        "hashes": found,
    }


def cpu_s() -> float:
    """Seconds of one core that the commands took so far, their workers included."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def environment() -> dict[str, str]:
    """One thread, no hub, no colours."""
    fixed = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "100", "NO_COLOR": "1"}
    return {**os.environ, **fixed}


def main() -> int:
    """Play what is missing, write all hashes, compare."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--work", type=Path, required=True, help="folder of what is computed")
    parser.add_argument("--out", type=Path, required=True, help="JSON of the hashes")
    parser.add_argument("--against", type=Path, help="JSON of an earlier run to compare with")
    parser.add_argument("--python", default=sys.executable, help="interpreter of the checkout")
    parser.add_argument("--only", default="", help="steps by comma (default: all)")
    args = parser.parse_args()
    work = args.work.resolve()
    (work / "done").mkdir(parents=True, exist_ok=True)
    chosen = args.only.split(",") if args.only else [step.name for step in all_steps()]
    results: dict[str, Any] = {}
    for step in all_steps():
        kept = work / "done" / f"{step.name}.json"
        if step.name in chosen and not kept.exists():
            print(f"{step.name} ...", file=sys.stderr, flush=True)
            kept.write_text(json.dumps(compute(step, work, args.python)))
        if kept.exists():
            results[step.name] = json.loads(kept.read_text())
    args.out.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n")
    rows = sum(result["num_rows"] for result in results.values())
    seconds = sum(result["cpu_s"] for result in results.values())
    print(f"{len(results)} steps, {rows} rows, {seconds:.0f} s of one core: {args.out}")
    if args.against is None:
        return 0
    differing = contents.differences(json.loads(args.against.read_text()), results)
    print("\n".join(differing) if differing else f"equal to {args.against}")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
