"""Applies a plan of moves to a checkout: ``restructure.py ROOT all|list|1,2,3 MOVES_TXT``.

Whole files, then single definitions, part by part, one commit a part. Imports, entry points,
monkeypatched names and paths in texts are rewritten; a hook a part does what a list cannot say.
This folder goes when the moves are done.
"""

import ast, json, re, subprocess, sys
from pathlib import Path

ROOT = Path(sys.argv[1]).resolve()
HERE = Path(__file__).resolve().parent
MOVES = Path(sys.argv[3]).read_text()
ROOMS = ("envs", "policies", "benchmarks")
EXTRA = {  # part -> whole-file moves besides the plan's
    5: [
        ("benchmarks/report.html", "benchmarks/report/report.html"),
        ("benchmarks/report.css", "benchmarks/report/report.css"),
        ("benchmarks/report.js", "benchmarks/report/report.js"),
        ("benchmarks/listen.js", "benchmarks/report/listen.js"),
    ],
    6: [("benchmarks/results.sh", "benchmarks/reproduce/arm.sh")],
    7: [
        ("benchmarks/factory.py", "benchmarks/running/factory.py"),
        ("benchmarks/trial.py", "benchmarks/running/trial.py"),
    ],
    12: [("neon_sim/config_text.py", "neon_sim/config/text.py")],
    13: [("neon_sim/collect.py", "neon_sim/demonstrations/collection.py")],
    22: [("neon_sim/rl.py", "policies/ppo/command.py")],
    23: [("neon_sim/pretrain.py", "policies/pretraining/trainer.py")],
    24: [("neon_sim/train.py", "policies/training/command.py")],
}
EXTRA_FILE = Path(__file__).resolve().parent / "extra_moves.json"
if EXTRA_FILE.exists():
    for k, v in json.loads(EXTRA_FILE.read_text()).items():
        EXTRA.setdefault(int(k), []).extend(tuple(x) for x in v)
FACES = {"neon_sim.collect", "neon_sim.train", "neon_sim.pretrain", "neon_sim.rl"}
SKIP_DEFS = {
    "neon_sim/dataset.py",
    "neon_sim/collect.py",
    "neon_sim/rl.py",
    "neon_sim/pretrain.py->policies",
    "neon_sim/train.py",
    "benchmarks/results.py",
    "neon_sim/feature_cache.py",
}


def parse():
    parts, part = {}, None
    for line in MOVES.splitlines():
        if line.startswith("WHAT THE LIST"):
            break
        if m := re.match(r"PART (\d+): (\S+)", line):
            part = int(m[1])
            parts[part] = {"title": m[2], "files": [], "defs": []}
        elif m := re.match(r"  (\S+) moves to (\S+)", line):
            parts[part]["files"].append((m[1], m[2]))
        elif m := re.match(r"  from (\S+) to (\S+): (.*)", line):
            parts[part]["defs"].append((m[1], m[2], [n.strip() for n in m[3].split(",")]))
    for k, v in EXTRA.items():
        parts[k]["files"] += v
    parts[24]["files"] = [f for f in parts[24]["files"] if f[0] != "neon_sim/windows.py"]
    parts[13]["files"].append(("neon_sim/windows.py", "neon_sim/demonstrations/windows.py"))
    return parts


PARTS = parse()


def first():
    g = ROOT / ".gitignore"
    t = (
        g.read_text()
        .replace("\nruns/", "\n/runs/")
        .replace("\ndata/", "\n/data/")
        .replace("\nbuild/", "\n/build/")
    )
    g.write_text(t)
    p = ROOT / "pyproject.toml"
    t = p.read_text()
    if "TID252" not in t:
        t = t.replace(
            '"{envs,policies,benchmarks}/**" = ["TID251"]',
            '"{envs,policies,benchmarks}/**" = ["TID251", "TID252"] # a room imports its own siblings relatively',
        )
        p.write_text(t)


def git(*a):
    return subprocess.run(
        ["git", "-C", str(ROOT), *a], check=True, capture_output=True, text=True
    ).stdout


def dotted(path):  # repo path -> module
    p = path[:-3].split("/")
    if p[0] in ROOMS + ("assets", "configs"):
        p = ["neon_sim", *p]
    if p[-1] == "__init__":
        p = p[:-1]
    return ".".join(p)


def tracked(*ends):
    return [
        f
        for f in git("ls-files").split("\n")
        if f.endswith(ends) and (ROOT / f).is_file() and not (ROOT / f).is_symlink()
    ]


def package_of(path):
    m = dotted(path)
    return m if path.endswith("__init__.py") else m.rpartition(".")[0]


def room(module):
    p = module.split(".")
    return (
        p[1]
        if len(p) > 1 and p[0] == "neon_sim" and p[1] in ROOMS
        else ("neon_sim" if p[0] == "neon_sim" else p[0])
    )


def render_module(target, path):
    pkg = package_of(path)
    if room(target) in ROOMS and room(target) == room(dotted(path)):
        a, b = pkg.split("."), target.split(".")
        common = 0
        while common < min(len(a), len(b)) and a[common] == b[common]:
            common += 1
        return "." * (len(a) - common + 1) + ".".join(b[common:])
    return target


class Mapper:
    def __init__(self, modmap, defmap, modules):
        self.modmap, self.defmap, self.modules = (
            modmap,
            defmap,
            modules,
        )  # old module -> new; (old module, name) -> new module

    def alias(self, module, name):
        full = f"{module}.{name}"
        if full in self.modules:  # a submodule
            new = self.modmap.get(full, full)
            return ("module", new)
        if (module, name) in self.defmap:
            return ("name", self.defmap[(module, name)])
        return ("name", self.modmap.get(module, module))


def rewrite(path, old_path, mapper):
    f = ROOT / path
    text = f.read_text()
    lines = text.splitlines(keepends=True)
    tree = ast.parse(text)
    old_pkg = package_of(old_path)
    spans = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                base = old_pkg.split(".")
                base = base[: len(base) - node.level + 1]
                module = ".".join(base + (node.module.split(".") if node.module else []))
            else:
                module = node.module or ""
            if not module.startswith("neon_sim"):
                continue
            groups, changed = {}, False
            for al in node.names:
                kind, new = mapper.alias(module, al.name)
                if kind == "module":
                    parent, base = new.rpartition(".")[0], new.rpartition(".")[2]
                    asname = al.asname or (al.name if base != al.name else None)
                    item = (base, asname)
                    target = parent
                else:
                    item = (al.name, al.asname)
                    target = new
                groups.setdefault(target, []).append(item)
            out = []
            indent = " " * node.col_offset
            same_loc = path == old_path
            unchanged = (
                same_loc
                and len(groups) == 1
                and next(iter(groups)) == module
                and [(a.name, a.asname) for a in node.names] == next(iter(groups.values()))
            )
            if unchanged:
                continue
            tail = lines[node.end_lineno - 1].rstrip("\n")
            comment = ""
            m = re.search(r"(  # .*)$", tail)
            if m:
                comment = m[1]
            if not comment:
                m = re.search(r"(  # noqa.*)$", lines[node.lineno - 1].rstrip("\n"))
                comment = m[1] if m else ""
            for target, items in groups.items():
                if target == dotted(path) and not path.startswith("tests/"):
                    continue
                names = ", ".join(n + (f" as {a}" if a else "") for n, a in items)
                ref = render_module(target, path)
                line = f"{indent}from {ref} import {names}"
                if len(line) > 100 or len(items) > 6:
                    line = f"{indent}from {ref} import ({names})"
                out.append(line + comment + "\n")
            spans.append((node.lineno - 1, node.end_lineno, out))
        elif isinstance(node, ast.Import):
            if any(a.name.startswith("neon_sim.") for a in node.names):
                out = []
                for a in node.names:
                    new = mapper.modmap.get(a.name, a.name)
                    out.append(
                        " " * node.col_offset
                        + f"import {new}"
                        + (f" as {a.asname}" if a.asname else "")
                        + "\n"
                    )
                if any(a.name in mapper.modmap for a in node.names):
                    spans.append((node.lineno - 1, node.end_lineno, out))
                else:
                    spans.append(
                        (node.lineno - 1, node.end_lineno, lines[node.lineno - 1 : node.end_lineno])
                    )
    keep = {}
    import_lines = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.ImportFrom, ast.Import)):
            import_lines |= set(range(node.lineno - 1, node.end_lineno))
    result = list(lines)
    for i in range(len(lines)):
        if i not in import_lines:
            result[i] = text_map(lines[i], mapper)
    for start, end, out in spans:
        result[start:end] = ["".join(out)] + [""] * (end - start - 1)
    new_text = "".join(result)
    if new_text != text:
        f.write_text(new_text)


DOT = re.compile(r"neon_sim(?:\.[A-Za-z_]\w*)+")
PATHRE = re.compile(
    r"(?<![\w.])(?:neon_sim|envs|policies|benchmarks)/[\w/]*\w\.(?:py|sh|html|css|js)\b"
)


def text_map(text, mapper):
    def one(m):
        words = m[0].split(".")
        for n in range(len(words), 1, -1):
            prefix = ".".join(words[:n])
            if n < len(words) and (prefix, words[n]) in mapper.defmap:
                return mapper.defmap[(prefix, words[n])] + "." + ".".join(words[n:])
            if prefix in mapper.modules:
                if prefix in FACES and (n == len(words)):
                    return m[0]
                if prefix in mapper.modmap:
                    return ".".join([mapper.modmap[prefix], *words[n:]])
                return m[0]
        return m[0]

    text = DOT.sub(one, text)
    text = re.sub(
        r"(neon_sim(?:\.\w+)*):(\w+)",
        lambda m: (
            (mapper.defmap[(m[1], m[2])] + ":" + m[2]) if (m[1], m[2]) in mapper.defmap else m[0]
        ),
        text,
    )
    return PATHRE.sub(lambda m: mapper.filemap.get(m[0], m[0]), text)


def nodes_of(tree, names):
    found = []
    for node in tree.body:
        ids = set()
        if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)):
            ids = {node.name}
        elif isinstance(node, ast.Assign):
            ids = {x.id for t in node.targets for x in ast.walk(t) if isinstance(x, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            ids = {node.target.id}
        if ids & set(names):
            found.append((node, ids))
    return found


def import_block(tree, lines, src, dst):
    """Every top-level import of src (and TYPE_CHECKING blocks), as dst would write it."""
    out = []
    for node in tree.body:
        if isinstance(node, (ast.Import,)):
            out.append("".join(lines[node.lineno - 1 : node.end_lineno]))
        elif isinstance(node, ast.ImportFrom):
            if node.module == "__future__":
                continue
            if node.level:
                base = package_of(src).split(".")
                base = base[: len(base) - node.level + 1]
                module = ".".join(base + (node.module.split(".") if node.module else []))
                if module == dotted(dst):
                    continue
                ref = render_module(module, dst)
            else:
                if node.module == dotted(dst):
                    continue
                ref = (
                    render_module(node.module, dst)
                    if node.module.startswith("neon_sim")
                    else node.module
                )
            out.append(
                f"from {ref} import ("
                + ", ".join(a.name + (f" as {a.asname}" if a.asname else "") for a in node.names)
                + ")\n"
            )
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            inner = import_block(ast.Module(node.body, []), lines, src, dst)
            out.append(
                "if TYPE_CHECKING:\n"
                + "".join(
                    "    " + l.replace("\n", "\n") if not l.startswith("    ") else l for l in inner
                )
            )
    return out


DOCS = json.loads((HERE / "new_docs.json").read_text()) if (HERE / "new_docs.json").exists() else {}


def move_defs(src, dst, names):
    s, d = ROOT / src, ROOT / dst
    text = s.read_text()
    lines = text.splitlines(keepends=True)
    tree = ast.parse(text)
    found = nodes_of(tree, names)
    have = set().union(*[ids for _, ids in found]) if found else set()
    missing = [n for n in names if n not in have]
    if missing:
        print("   not found in", src, missing)
    if not found:
        return []
    taken, moved = [], set()
    for node, ids in found:
        start = min([node.lineno] + [x.lineno for x in getattr(node, "decorator_list", [])]) - 1
        while (
            start > 0
            and lines[start - 1].startswith("#")
            and not lines[start - 1].startswith("# ---")
        ):
            start -= 1
        end = node.end_lineno
        # trailing comment on the same line is inside; a docstring-like string after constants stays
        taken.append("".join(lines[start:end]))
        moved |= set(range(start, end))
    head = import_block(tree, lines, src, dst)
    rest = "".join(l for i, l in enumerate(lines) if i not in moved)
    body = "\n\n".join(taken)
    if d.exists():
        dt = d.read_text()
        dtree = ast.parse(dt)
        last = 0
        dl = dt.splitlines(keepends=True)
        for node in dtree.body:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                last = node.end_lineno
        new = "".join(dl[:last]) + "".join(head) + "\n\n" + body + "\n\n" + "".join(dl[last:])
        # put behind what stands there instead, when definitions depend on them
        new = "".join(dl[:last]) + "".join(head) + "".join(dl[last:]) + "\n\n" + body + "\n"
    else:
        d.parent.mkdir(parents=True, exist_ok=True)
        new = (
            f'"""{DOCS.get(dst, "TODO")}"""\n\nfrom __future__ import annotations\n\n'
            + "".join(head)
            + "\n\n"
            + body
            + "\n"
        )
    d.write_text(new)
    s.write_text(rest)
    git("add", "-A")
    return sorted(have)


RUFF = str(ROOT / ".venv/bin/ruff")


def ruff_fix(paths=(".",)):
    subprocess.run([RUFF, "check", "-q", "--fix", "--select", "I", *paths], cwd=ROOT)
    subprocess.run([RUFF, "format", "-q", *paths], cwd=ROOT)


def undefined(path):
    out = subprocess.run(
        [RUFF, "check", "--select", "F821", "--output-format", "json", path],
        cwd=ROOT,
        capture_output=True,
        text=True,
    ).stdout
    return sorted({re.search(r"`(\w+)`", x["message"])[1] for x in json.loads(out)})


def defined(path):
    names = set()
    for node in ast.parse((ROOT / path).read_text()).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {x.id for t in node.targets for x in ast.walk(t) if isinstance(x, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return names


def add_import(path, module, names):
    f = ROOT / path
    text = f.read_text()
    lines = text.splitlines(keepends=True)
    at = 0
    for node in ast.parse(text).body:
        if isinstance(node, ast.ImportFrom) and node.module == "__future__":
            at = node.end_lineno
        elif isinstance(node, ast.Expr) and at == 0:
            at = node.end_lineno
    lines.insert(at, f"\nfrom {render_module(module, path)} import ({', '.join(names)})\n")
    f.write_text("".join(lines))


def apply(number):
    part = PARTS[number]
    modules = {dotted(f) for f in tracked(".py") if not f.startswith(("tests/", "assets/"))}
    modmap, filemap, moved = {}, {}, {}
    for a, b in part["files"]:
        if not (ROOT / a).exists():
            print("   absent:", a)
            continue
        filemap[a] = b
        if a.endswith(".py"):
            modmap[dotted(a)] = dotted(b)
        moved[b] = a
    for a, b in moved.items():
        # a module that becomes a package of its own name: move aside first
        pass
    tmp = {}
    for new, old in moved.items():
        t = ROOT / (old + ".moving")
        git("mv", old, old + ".moving")
        tmp[new] = old + ".moving"
    for new, t in tmp.items():
        (ROOT / new).parent.mkdir(parents=True, exist_ok=True)
        git("mv", t, new)
    title = part["title"].rstrip("/")
    for folder in sorted({str(Path(n).parent) for n in moved if n.endswith(".py")}):
        init = ROOT / folder / "__init__.py"
        if not init.exists():
            doc = DOCS.get(folder + "/__init__.py", "TODO")
            init.write_text(f'"""{doc}"""\n')
            git("add", str(init))
    extra = {}
    if number == 12:
        extra = {
            ("neon_sim.config", n): "neon_sim.config.loading"
            for n in ("config_names", "load_config", "main_config", "parse_overrides", "read_yaml")
        }
    mapper = Mapper(modmap, extra, modules)
    mapper.filemap = filemap
    back = {new: old for new, old in moved.items()}
    for f in tracked(".py"):
        rewrite(f, back.get(f, f), mapper)
    for f in tracked(
        ".md", ".toml", ".yaml", ".yml", ".sh", "Makefile", ".cff", ".ci/run", ".txt", ".html"
    ):
        p = ROOT / f
        t = p.read_text()
        n = text_map(t, mapper)
        if n != t:
            p.write_text(n)
    git("add", "-A")
    ruff_fix()
    # definitions
    for src, dst, names in part["defs"]:
        if src in SKIP_DEFS or (src == "neon_sim/pretrain.py" and dst.startswith("policies")):
            continue
        src_now = filemap.get(src, src)
        if not (ROOT / src_now).exists():
            alt = [n for k in PARTS for o, n in PARTS[k]["files"] if o == src]
            src_now = next((a for a in alt if (ROOT / a).exists()), src_now)
        print("   defs", src_now, "->", dst)
        have = move_defs(src_now, dst, names)
        if not have:
            continue
        modules2 = {dotted(f) for f in tracked(".py") if not f.startswith(("tests/", "assets/"))}
        m2 = Mapper({}, {(dotted(src_now), n): dotted(dst) for n in have}, modules2)
        m2.filemap = {}
        for f in tracked(".py"):
            rewrite(f, f, m2)
        for f in tracked(".md", ".toml", ".yaml", ".sh"):
            p = ROOT / f
            t = p.read_text()
            n = text_map(t, m2)
            if n != t:
                p.write_text(n)
        for path, other in ((src_now, dst), (dst, src_now)):
            need = [n for n in undefined(path) if n in defined(other)]
            if need:
                print("     ", path, "imports from", other, need)
                add_import(path, dotted(other), need)
            left = undefined(path)
            if left:
                print("      UNDEFINED", path, left)
            subprocess.run(
                [RUFF, "check", "-q", "--fix", "--select", "F401,I,F811", path], cwd=ROOT
            )
        git("add", "-A")
        ruff_fix()
    hook = HERE / f"hooks/{number}.py"
    if hook.exists():
        subprocess.run([sys.executable, str(hook), str(ROOT)], check=True)
    ruff_fix()
    git("add", "-A")


def rewrap():
    """Paragraphs of docstrings and comments that a longer module name pushed past the margin."""
    import textwrap

    for _ in range(6):
        out = subprocess.run(
            [RUFF, "check", "--select", "E501", "--output-format", "json", "."],
            cwd=ROOT,
            capture_output=True,
            text=True,
        ).stdout
        bad = json.loads(out)
        if not bad:
            return
        seen = set()
        for x in bad:
            f = Path(x["filename"])
            if f in seen:
                continue
            seen.add(f)
            lines = f.read_text().split("\n")
            i = x["location"]["row"] - 1
            line = lines[i]
            indent = re.match(r" *(# )?", line)[0]

            def same(l):
                return (
                    l.startswith(indent) and l.strip(" #") and re.match(r" *(# )?", l)[0] == indent
                )

            end = i
            closing = ""
            while (
                end + 1 < len(lines)
                and same(lines[end + 1])
                and not lines[end].rstrip().endswith('"""')
                and not re.match(r"\s*(\w+: |[-*] |Args:|Returns:|Raises:|\"\"\")", lines[end + 1])
            ):
                end += 1
            para = " ".join(l[len(indent) :].strip() for l in lines[i : end + 1])
            if "#" in indent or '"""' in para or not re.search(r"[=({\[]", line[:20]):
                new = textwrap.wrap(
                    para,
                    100,
                    initial_indent=indent,
                    subsequent_indent=indent,
                    break_long_words=False,
                    break_on_hyphens=False,
                )
                if (
                    para.startswith('"""')
                    and len(new) > 1
                    and not lines[i].rstrip().endswith('"""')
                ):
                    pass
                if new != lines[i : end + 1]:
                    lines[i : end + 1] = new
                    f.write_text("\n".join(lines))


if __name__ == "__main__":
    if sys.argv[2] == "list":
        for k, v in PARTS.items():
            print(k, v["title"], len(v["files"]), len(v["defs"]))
    else:
        todo = list(PARTS) if sys.argv[2] == "all" else [int(x) for x in sys.argv[2].split(",")]
        first()
        for k in todo:
            print("PART", k, PARTS[k]["title"])
            apply(k)
            rewrap()
            ruff_fix()
            git("add", "-A")
            check = subprocess.run(
                [RUFF, "check", "--output-format", "concise", "."],
                cwd=ROOT,
                capture_output=True,
                text=True,
            )
            print(check.stdout[-2500:] if check.returncode else "   ruff ok")
            git("commit", "-qam", f"Moves: {PARTS[k]['title']} is a wing of its own") if git(
                "status", "--porcelain"
            ) else None
