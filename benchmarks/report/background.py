"""The sections of ``report.html`` behind the numbers: certificates, machine, errors."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import Any

from neon_sim.registry import TASKS

from ..analysis.results import PlottedCell, Summary
from ..runs.own_policy import own_sentences
from ..runs.scripted import CONDITION, SCRIPTED
from .charts import percent, signed, success_panel
from .markup import Html, details, facts, table, tag
from .sections import interval, note, section

STATUS = {"certified": "better", "refused": "worse", "incomplete": "open"}

# ---- certificates --------------------------------------------------------------------------


def certificate_section(tasks: Sequence[str], stored: dict[str, dict[str, Any]]) -> Html:
    """What is known of each task, whatever this run shows."""
    intro = note(
        "A certificate shows whether a task can be solved without seeing time: how far a policy "
        "gets that is told the true visible positions now (oracle_memoryless), one that is told "
        "their history (oracle_history), one that sees nothing (blind), and a script that knows "
        "everything (expert). Twins: pairs of episodes that look the same to the last bit and "
        "need different actions. A task of sound is played once for every value of its cue under "
        "the same actions: nothing but the sound may differ, and a policy that cannot hear "
        "(muted) may do no better than chance."
    )
    cards = [
        tag("article", tag("h3", task), *certificate_card(task, stored.get(task))) for task in tasks
    ]
    return section("certificates", "Certificates", intro, tag("div", *cards, class_="cards"))


def certificate_card(task: str, stored: dict[str, Any] | None) -> list[Html]:
    """What a certificate says, its rates as a chart, and all of it folded away."""
    if stored is None:
        return [
            note("No certificate stored. To make one: ", _code(f"neon-bench certify --task {task}"))
        ]
    status = stored["status"]
    ran = {word: e for word, e in stored["entries"].items() if not e.get("skipped")}
    skipped = [word for word, e in stored["entries"].items() if e.get("skipped")]
    parts = [
        tag("b", status, class_=f"chip {STATUS.get(status, 'open')}"),
        tag("p", stored["verdict"]),
    ]
    if ran:
        parts.append(
            success_panel(
                f"{task} (certificate)", [_as_cell(stored["policy"], *item) for item in ran.items()]
            )
        )
    if skipped:
        parts.append(note(f"Not measured: {', '.join(skipped)}."))
    known = [(name, words) for name, words in _certificate_facts(stored, ran) if words]
    text = json.dumps(stored, indent=1, ensure_ascii=False)
    folded = details("the whole certificate", facts(known), tag("pre", text))
    return [*parts, folded]


def _code(text: str) -> Html:
    return tag("code", text)


def _as_cell(policy: str, word: str, entry: dict[str, Any]) -> PlottedCell:
    """An entry of a certificate in the form of a summary's cell, for the chart."""
    scripted = word in SCRIPTED
    return {
        "policy": word if scripted else policy,
        "condition": CONDITION if scripted else word,
        "any_time": {
            "n": entry["n"],
            "successes": entry["successes"],
            "rate": entry["rate"],
            "wilson": entry["wilson"],
            "interval": entry.get("cluster", entry["wilson"]),
        },
        "per_train_seed": [],
    }


def _certificate_facts(
    stored: dict[str, Any], ran: dict[str, dict[str, Any]]
) -> list[tuple[str, str]]:
    gain, twins = stored.get("history_gain"), stored.get("twins")
    shown = [
        (word, f"{percent(e['rate'])} ({interval(e['wilson'])}), n = {e['n']}")
        for word, e in ran.items()
    ]
    if gain:
        low, high = gain["interval"]
        words = f"{signed(gain['difference'])} points ({signed(low)} to {signed(high)})"
        shown.append(("gain from history", f"{words}, n = {gain['n']}"))
    if stored.get("sound"):
        shown += _sound_facts(stored)
    if twins:
        equal = f"{twins['equal']} of {twins['checked']} equal"
        shown.append(("twins", f"{equal}, {twins['differing']} with other right actions"))
    keys = ("policy", "seed", "date", "git_commit")
    return [*shown, *[(key.replace("_", " "), str(stored.get(key) or "")) for key in keys]]


def _sound_facts(stored: dict[str, Any]) -> list[tuple[str, str]]:
    sound, guessers = stored["sound"], stored["chance_interval"]
    chance = f"{percent(sound['chance'])}, one of {sound['cues']} cues"
    if guessers:
        chance += f"; who guesses ends in {interval(guessers)} in 95 of 100 runs like this"
    return [
        ("chance", chance),
        ("twins", f"{sound['rollouts']} episodes, {sound['steps']} steps"),
        ("compared", ", ".join(sound["keys"])),
        ("actions of", ", ".join(sound["tapes"])),
        ("heard", f"{sound['heard']} of {sound['pairs']} pairs of cues sound different"),
        ("faults", "; ".join(sound["faults"])),
    ]


# ---- where it comes from -----------------------------------------------------------------------


def provenance(manifest: dict[str, Any]) -> Html:
    """What ran where, and how to run it again."""
    config = manifest.get("config", {})
    command = shlex.join(manifest.get("command", [])) or "not recorded"
    renderer = manifest.get("renderer", {})
    shown = [
        ("started", manifest.get("started", "not recorded")),
        ("finished", manifest.get("finished", "not finished")),
        *[("resumed", when) for when in manifest.get("resumed", [])],
        ("commit", manifest.get("git_commit") or "not recorded"),
        ("renderer", ", ".join(str(value) for value in renderer.values()) or "not recorded"),
        (
            "processor",
            f"{manifest.get('cpu', 'not recorded')} ({manifest.get('cores', '?')} cores)",
        ),
        ("platform", manifest.get("platform", "not recorded")),
        *manifest.get("versions", {}).items(),
        ("seed", config.get("seed", "not recorded")),
        ("episodes", config.get("episodes", "not recorded")),
        ("late by", f"{_late_by(config)} control steps"),
        *[
            (key.replace("_", " "), value)
            for key, value in config.get("options", {}).items()
            if value != ""
        ],
        *[(key, manifest[key]) for key in ("workers", "batch", "executor") if key in manifest],
    ]
    own = [note(text) for text in own_sentences(manifest.get("own_policies", {}))]
    repeated = [note(f"{text}.") for text in manifest.get("training_seeds", [])]
    weights = _checkpoints(manifest)
    parts = [tag("pre", command, class_="command"), facts(shown), *own, *repeated, weights]
    text = json.dumps(config, indent=1, ensure_ascii=False)
    if own:
        said = json.dumps(manifest["own_policies"], indent=1, ensure_ascii=False)
        parts.append(details("what policies of the user's own say of themselves", tag("pre", said)))
    parts.append(details("all settings", tag("pre", text)))
    return section("provenance", "What ran where", *parts)


def _late_by(config: dict[str, Any]) -> str:
    """Latency of the run, or those of its sweep."""
    swept = [entry.get("latency_steps") for entry in config.get("policies", [])]
    late = dict.fromkeys(str(steps) for steps in swept if steps is not None)
    return ", ".join(late) or str(config.get("latency_steps", "?"))


def _checkpoints(manifest: dict[str, Any]) -> Html:
    hashes = manifest.get("checkpoints", {})
    if not hashes:
        return note("No trained weights of ours were loaded.")
    tasks: dict[tuple[str, str], list[str]] = {}  # by column and file
    for name, digest in hashes.items():
        column, _, task = name.rpartition("/")
        if task not in TASKS:  # a run of before 2026-11-29
            column, task = name, ""
        tasks.setdefault((column.replace("/", " / "), digest), []).append(task)
    rows = [
        (column, ", ".join(words), tag("code", digest)) for (column, digest), words in tasks.items()
    ]
    body = table(("policy / condition / training seed", "tasks", "SHA-256"), rows)
    count = len(set(hashes.values()))
    return details(f"weights: {count} file{'s' if count > 1 else ''}", body)


def failures(summary: Summary) -> Html:
    """Episodes that raised."""
    rows = [
        (
            row["task"],
            row["policy"]
            if row["condition"] == CONDITION
            else f"{row['policy']} {row['condition']}",
            "–" if row["train_seed"] is None else row["train_seed"],
            row["episode"],
            tag("code", row["error"] or ""),
        )
        for row in summary["failures"]
    ]
    if not rows:
        return section("failures", "Errors", note("No episode raised an error."))
    head = ("task", "policy", "training seed", "episode", "error")
    return section("failures", "Errors", table(head, rows, numbers=(2, 3)))


def decisions(summary: Summary) -> Html:
    """What stopping early decided; nothing for a run without it."""
    if not summary["decisions"]:
        return Html()
    rows = [
        (task, "decided" if entry["decided"] else "undecided", entry["episodes"],
         f"{entry['e_value']:.3g}")
        for task, entry in summary["decisions"].items()
    ]  # fmt: skip
    small = note(
        "This run stops a task when its first two columns are told apart. Evidence (e-value): "
        f"{1 / summary['alpha']:.0f} or more decides, at whatever moment one looks."
    )
    head = ("task", "", "episodes", "evidence")
    return section("decisions", "Stopped early", table(head, rows, numbers=(2, 3)), small)
