"""What ``play.py`` keeps of each kind of output: hashes of contents, not of files."""

from __future__ import annotations

import hashlib
import html
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

TIMES = ("timing", "started", "finished", "resumed", "wall_s", "seconds", "duration_s", "date")
MACHINE = (
    "git_commit",
    "commit",
    "record_sha256",
    "command",
    "cpu",
    "versions",
    "content",
    "weights",
    "checkpoints",
    "made",
)
STAMP = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)?)?")
COMMIT = re.compile(r"\b[0-9a-f]{7,40}(?:-dirty|\+)?\b")
NO_TIME = {"wall_s": 1.0, "inference_ms_mean": 1.0, "observe_ms_mean": 1.0, "looks": 1}

Hashes = dict[str, str]


def digest(data: bytes | str) -> str:
    """Sixteen hex digits of SHA-256."""
    return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()[:16]


def canonical(value: Any) -> str:
    """JSON with sorted keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """Rows of a run below a folder, without timing."""
    rows = []
    for path in sorted(folder.rglob("episodes.jsonl")):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            row.pop("timing", None)
            rows.append(row)
    return rows


def count_rows(folder: Path) -> int:
    """How many rows of runs lie below a folder that are its own."""
    own = folder.is_dir() and not folder.name.startswith("report_")
    return len(read_rows(folder)) if own else 0


def run_hashes(out: Path, stdout: str, work: Path) -> Hashes:
    """Of every cell's rows, and of what the manifest says was run."""
    cells: dict[str, list[Any]] = {}
    for row in read_rows(out):
        name = "/".join(str(row[key]) for key in ("task", "policy", "condition", "train_seed"))
        cells.setdefault(name, []).append(row)
    found = {f"rows {name}": digest(canonical(rows)) for name, rows in cells.items()}
    for path in sorted(out.rglob("manifest.json")):
        config = json.loads(path.read_text())["config"]
        found["plan"] = digest(without_place(canonical(config), work))
    return found


def without_place(text: str, work: Path) -> str:
    """Text without the working folder, times and commits."""
    text = text.replace(str(work), "WORK")
    return COMMIT.sub("COMMIT", STAMP.sub("STAMP", text))


def weight_hashes(out: Path, stdout: str, work: Path) -> Hashes:
    """Of every tensor of every safetensors file, by name; of the losses of curves."""
    from safetensors.numpy import load_file

    found: Hashes = {}
    for path in sorted(out.rglob("*.safetensors")):
        for name, array in sorted(load_tensors(path, load_file).items()):
            data = f"{array.dtype} {array.shape} ".encode() + array.tobytes()
            key = f"{path.relative_to(out)} {name}"
            found[key] = digest(data)
    for path in sorted(out.rglob("*curve*.json")):
        found[str(path.relative_to(out))] = digest(canonical(numbers(json.loads(path.read_text()))))
    return merged(found)


def load_tensors(path: Path, load_file: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """Tensors of a file as numpy; bfloat16, which numpy has not, as torch's bytes."""
    try:
        return load_file(str(path))
    except (TypeError, KeyError):
        import torch
        from safetensors.torch import load_file as load_torch

        return {name: t.view(torch.int16).numpy() for name, t in load_torch(str(path)).items()}


def merged(found: Hashes) -> Hashes:
    """At most one hash a file where it holds hundreds of tensors."""
    if len(found) <= 60:
        return found
    files: dict[str, list[str]] = {}
    for name, value in found.items():
        files.setdefault(name.partition(" ")[0], []).append(f"{name} {value}")
    return {name: digest("\n".join(lines)) for name, lines in files.items()}


def numbers(value: Any) -> Any:
    """A JSON value without what tells time, place or machine."""
    if isinstance(value, dict):
        skip = (*TIMES, *MACHINE)
        return {
            key: numbers(item)
            for key, item in value.items()
            if key not in skip and not key.endswith(("_s", "_ms", "per_s", "_hash", "_ms_mean"))
        }
    if isinstance(value, list):
        return [numbers(item) for item in value]
    return value


def dataset_hashes(out: Path, stdout: str, work: Path) -> Hashes:
    """Of every column's values, every video's decoded frames and the sound of every file."""
    import pyarrow.parquet as parquet

    found: Hashes = {}
    for path in sorted(out.rglob("*.parquet")):
        table = parquet.read_table(path)
        for name in table.column_names:
            values = canonical(table.column(name).to_pylist())
            found[f"{path.relative_to(out)} {name}"] = digest(without_place(values, work))
    for path in sorted([*out.rglob("*.mp4"), *out.rglob("*.flac"), *out.rglob("*.wav")]):
        found[str(path.relative_to(out))] = digest(b"".join(decoded(path)))
    for path in sorted(out.rglob("meta/*.json")):
        found[str(path.relative_to(out))] = digest(canonical(numbers(json.loads(path.read_text()))))
    return found


def decoded(path: Path) -> Iterator[bytes]:
    """Frames of a video, samples of a sound."""
    import av

    with av.open(str(path)) as container:
        is_video = bool(container.streams.video)
        form: dict[str, Any] = {"format": "rgb24"} if is_video else {}
        frames: Any = container.decode(video=0) if is_video else container.decode(audio=0)
        for frame in frames:
            yield frame.to_ndarray(**form).tobytes()


def certificate_hashes(out: Path, stdout: str, work: Path) -> Hashes:
    """Of the numbers of every certificate, and of the rows behind them."""
    found = run_hashes(out, stdout, work)
    for path in sorted((out / "proofs").rglob("*.json")):
        for key, value in numbers(json.loads(path.read_text())).items():
            found[f"{path.stem} {key}"] = digest(without_place(canonical(value), work))
    return found


def json_hashes(out: Path, stdout: str, work: Path) -> Hashes:
    """Of every top-level key of printed JSON, times left out."""
    values = numbers(json.loads(stdout))
    return {key: digest(without_place(canonical(value), work)) for key, value in values.items()}


def without_column(text: str, head: str) -> str:
    """Text with N for the numbers that stand right-aligned below a head."""
    lines, end = [], 0
    for line in text.splitlines():
        if head in line:
            end = line.index(head) + len(head)
        elif not line.strip():
            end = 0  # the table is over
        lines.append(re.sub(r"\d+\.\d+$", "N", line[:end]) + line[end:] if end else line)
    return "\n".join(lines)


def text_hashes(out: Path, stdout: str, work: Path) -> Hashes:
    """Of printed text, numbers with a unit of time left out, beside it or in a column's head."""
    text = re.sub(r"\d+(\.\d+)? ?ms", "N ms", without_place(stdout, work))
    text = without_column(text, "infer ms")
    return {"text": digest(re.sub(r"[ ]+", " ", text))}


def report_hashes(out: Path, stdout: str, work: Path) -> Hashes:
    """Of the words of a report, section by section."""
    page = (out / "report.html").read_text()
    page = re.sub(r"<(style|script)\b.*?</\1>", "", page, flags=re.S)
    page = re.sub(r"data:[\w/+.-]+;base64,[\w+/=]+", "DATA", page)
    found: Hashes = {}
    for number, section in enumerate(re.split(r"(?=<h[12]\b)", page)):
        text = html.unescape(re.sub(r"<[^>]+>", " ", section))
        text = re.sub(r"\s+", " ", without_place(text, work)).strip()
        found[f"{number} {text[:40]}"] = digest(text)
        found[f"{number} drawn"] = digest(without_place(section, work))
    return found


def copy_without_time(run: Path, out: Path) -> None:
    """Copy a run so that its report tells no time: equal rows give an equal page."""
    shutil.copytree(
        run, out, ignore=shutil.ignore_patterns("report.html", "summary.json", "*.lock")
    )
    episodes = out / "episodes.jsonl"
    lines = []
    for line in episodes.read_text().splitlines():
        row = json.loads(line)
        lines.append(json.dumps({**row, "timing": NO_TIME}, ensure_ascii=False))
    episodes.write_text("\n".join(lines) + "\n")


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What is not equal, one line each."""
    lines = []
    for step in sorted({*before, *after}):
        if step not in before or step not in after:
            lines.append(f"{step}: only {'before' if step in before else 'after'}")
            continue
        old, new = before[step], after[step]
        if old["exit_code"] != new["exit_code"]:
            lines.append(f"{step}: exit code {old['exit_code']} -> {new['exit_code']}")
        for key in sorted({*old["hashes"], *new["hashes"]}):
            was, now = old["hashes"].get(key), new["hashes"].get(key)
            if was != now:
                told = "is gone" if now is None else "is new" if was is None else "differs"
                lines.append(f"{step}: {key} {told}")
    return lines


READERS: dict[str, Callable[[Path, str, Path], Hashes]] = {
    "run": run_hashes,
    "weights": weight_hashes,
    "dataset": dataset_hashes,
    "certificates": certificate_hashes,
    "json_output": json_hashes,
    "text_output": text_hashes,
    "report": report_hashes,
}
