"""What certificates of every kind share: where they are kept, their rates, their clauses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import neon_sim
from neon_sim.errors import ConfigError, RunError
from neon_sim.machine import git_commit
from neon_sim.registry import task_entry
from neon_sim.schema import read_json

from ..analysis.pairing import Column, measured, rows_of, success_matrix
from ..analysis.statistics import clopper_pearson, cluster_bootstrap, wilson
from ..analysis.tables import align, percent
from ..running.machine import now, versions
from ..runs.folder import Row
from ..runs.scripted import CONDITION
from ..runs.stored import check_certificate

SCRIPTED = ("expert", "hold", "random")
MIN_EXPERT = 0.95
MIN_EPISODES = 100  # fewer certify nothing
ALPHA = 0.05
VERSION = 1


def certificate_folder() -> Path:
    """Where certificates ship."""
    return Path(next(iter(neon_sim.__path__))) / "assets" / "certificates"


def read_certificate(task: str, folder: Path | None = None) -> dict[str, Any] | None:
    """The certificate of a task, None when there is none (or of another version).

    Raises:
        RunError: it is there and damaged.
    """
    path = (folder or certificate_folder()) / f"{task}.json"
    if Path(task).name != task or not path.is_file():  # a name from a manifest stays in its folder
        return None
    mend = f"make it again: neon-bench certify --task {task}"
    body = read_json(path, dict[str, Any], RunError, mend)
    if body.get("version") != VERSION:
        return None
    check_certificate(body, path)
    return body


def provenance(task: str, policy: str, seed: int) -> dict[str, Any]:
    """What a certificate is of, and what it was made with."""
    entry = task_entry(task)
    return {
        "version": VERSION,
        "task": task,
        "env_id": entry.env_id,
        "kind": entry.kind,
        "policy": policy,
        "seed": seed,
        "date": now(),
        "git_commit": git_commit(),
        "versions": versions(),
    }


def columns_of(
    rows: Sequence[Row], policy: str, heads: Sequence[str]
) -> tuple[str, dict[str, Column]]:
    """Whose heads ran, and the column of each entry of a certificate."""
    name = next((row["policy"] for row in rows if row["condition"] in heads), policy)
    columns: dict[str, Column] = {word: (name, word) for word in heads}
    return name, columns | {word: (word, CONDITION) for word in SCRIPTED}


def rate_of(rows: Sequence[Row], task: str, column: Column, mend: str | None) -> dict[str, Any]:
    """Success of one column with its intervals, or that it was skipped and what mends it."""
    played = rows_of(rows, task, column)
    mine = measured(played)
    if mend is not None or not played:
        return {"skipped": True, "why": mend or "not run"}
    if not mine:
        why = f"all {len(played)} episodes raised an error (the first: {played[0]['error']})"
        return {"skipped": True, "why": why, "errors": len(played)}
    n, successes = len(mine), sum(bool(row["success"]) for row in mine)
    found: dict[str, Any] = {
        "n": n,
        "successes": successes,
        "rate": successes / n,
        "wilson": list(wilson(successes, n)),
        "clopper_pearson": list(clopper_pearson(successes, n)),
        "train_seeds": sorted({r["train_seed"] for r in mine if r["train_seed"] is not None}),
        "errors": len(played) - n,
    }
    matrix = success_matrix(rows, task, column)
    if len(matrix.train_seeds) > 1 and matrix.n:
        found["cluster"] = list(cluster_bootstrap(matrix.a))
    return found


# ---- verdict ----------------------------------------------------------------------------


def clause(holds: bool, text: str) -> tuple[bool, str]:
    """One clause, and what it says of itself."""
    return holds, text if holds else f"{text} does not hold"


def expert_clause(entries: dict[str, Any]) -> tuple[bool, str]:
    """The job can be done."""
    rate = entries["expert"]["rate"]
    return clause(rate >= MIN_EXPERT, f"expert {percent(rate)} % (at least {percent(MIN_EXPERT)})")


def verdict_of(what: str, checks: Sequence[tuple[bool, str]]) -> dict[str, Any]:
    """``status`` (``certified`` or ``refused``), ``reasons`` and ``verdict`` of clauses."""
    reasons = [text for _, text in checks]
    broken = [text for holds, text in checks if not holds]
    if broken:
        sentence = f"not certified as {what}: {'; '.join(broken)}"
    else:
        sentence = f"certified {what}: {'; '.join(reasons)}"
    return {
        "status": "refused" if broken else "certified",
        "reasons": reasons,
        "verdict": sentence,
    }


def enough_clause(entries: dict[str, Any]) -> tuple[bool, str]:
    """Whether the clause holds that no entry rests on fewer than ``MIN_EPISODES``."""
    fewest = min(entry["n"] for entry in entries.values() if not entry.get("skipped"))
    return clause(fewest >= MIN_EPISODES, f"{fewest} episodes (at least {MIN_EPISODES})")


def raised_clauses(entries: dict[str, Any]) -> list[tuple[bool, str]]:
    """Clauses that do not hold: entries with episodes that raised, which nothing is proved by."""
    raised = {word: entry["errors"] for word, entry in entries.items() if entry.get("errors")}
    return [
        clause(False, f"no episode of {word} raises an error ({count} did)")
        for word, count in raised.items()
    ]


def keep_larger(path: Path, episodes: int) -> None:
    """Refuse to lose what a certificate of more episodes says.

    Raises:
        ConfigError: the file holds more episodes an entry than ``episodes``.
    """
    body = read_certificate(path.stem, path.parent)
    found = max((entry.get("n", 0) for entry in body["entries"].values()), default=0) if body else 0
    if found > episodes:
        raise ConfigError(
            f"{path} holds a certificate of {found} episodes, this one would be of {episodes}; "
            f"choose another --out, or --episodes {found}"
        )


def incomplete(lacking: Sequence[str]) -> dict[str, Any]:
    """``status``, ``reasons`` and ``verdict`` of a certificate that lacks entries."""
    sentence = f"incomplete: {', '.join(lacking)} did not run"
    return {"status": "incomplete", "reasons": list(lacking), "verdict": sentence}


# ---- text -------------------------------------------------------------------------------


def certificates_table(certificates: Sequence[dict[str, Any]]) -> str:
    """Certificates as text: a table a kind with a row a task, then a sentence a task."""
    tables = []
    for hears in (False, True):
        chosen = [body for body in certificates if (body["kind"] == "sound") == hears]
        if chosen:
            tables.append(align([_head(chosen[0]), *map(_line, chosen)]))
    sentences = [f"{body['task']}: {body['verdict']}" for body in certificates]
    lacking = {
        f"  {word}: {entry['why']}"
        for body in certificates
        for word, entry in body["entries"].items()
        if entry.get("skipped")
    }
    if lacking:
        sentences.append("\n".join(["skipped:", *sorted(lacking)]))
    return "\n\n".join([*tables, "success in % [95 % Wilson], n episodes", *sentences])


def _head(body: dict[str, Any]) -> tuple[str, ...]:
    proofs = ("chance", "twins heard") if body["kind"] == "sound" else ("gain", "twins")
    return ("task", "kind", *body["entries"], *proofs, "status")


def _line(body: dict[str, Any]) -> tuple[str, ...]:
    rates = (_cell(entry) for entry in body["entries"].values())
    return (body["task"], body["kind"], *rates, *_proofs(body), body["status"])


def _proofs(body: dict[str, Any]) -> tuple[str, str]:
    if body["kind"] == "sound":
        sound = body["sound"]
        return percent(sound["chance"]), f"{sound['heard']}/{sound['pairs']}"
    gain, twins = body["history_gain"], body["twins"]
    return (
        "" if gain is None else f"{100 * gain['difference']:+.1f}",
        "" if twins is None else f"{twins['equal']}/{twins['checked']}",
    )


def _cell(entry: dict[str, Any]) -> str:
    if entry.get("skipped"):
        return "skipped"
    low, high = entry["wilson"]
    return f"{percent(entry['rate'])} [{100 * low:.0f}, {100 * high:.0f}] n={entry['n']}"


def is_certified(task: str) -> bool:
    """Whether a task carries the certificate that it needs to see time."""
    body = read_certificate(task)
    return body is not None and (body["kind"], body["status"]) == ("temporal", "certified")
