"""``neon-bench list``: what there is, one line each."""

from __future__ import annotations

from neon_sim.config.loading import config_names, load_config
from neon_sim.config.policy import NO_AUDIO, PolicyConfig
from neon_sim.observation.conditions import CONDITIONS
from neon_sim.registry import POLICY_PARTS, TASKS

from .analysis.tables import align, wrapped
from .certificates.common import read_certificate
from .runs.plan import DEFAULT_POLICY, ORACLES, PPO
from .runs.scripted import SCRIPTED
from .runs.suites import load_suite, suite_names

ABOUT_SCRIPTED = {
    "expert": "the task's scripted expert, with all of the simulator's state",
    "random": "a random target every 0.32 s",
    "hold": "never moves",
}


def listing(what: str) -> str:
    """Names of one kind with a word about each.

    Args:
        what: ``tasks``, ``policies``, ``conditions``, ``backbones`` or ``suites``.
    """
    rows = wrapped(ROWS[what](), WIDTHS.get(what, {}))
    return "\n\n".join([align(rows), *_notes(what)])


def _notes(what: str) -> list[str]:
    """What stands below a list."""
    if what == "backbones":
        return [POLICY_PARTS.resolve("backbone_notes")]
    if what == "policies":
        return [_ears(), OWN]
    return [ROBOTS_APART] if what == "suites" else []


def _ears() -> str:
    """Which networks can listen, and with which encoder of sound."""
    families = POLICY_PARTS.resolve("hearing_models")()
    names = [
        models[0] if len(models) == 1 else f"{models[0].rpartition('_')[0]}_*"
        for models in families
    ]
    own = " and ".join(names)
    return f"any network listens with audio=log_mel; {own} also with audio=backbone"


TASK_HEAD = ("task", "Gymnasium id", "kind", "robot", "sound", "certificate that ships")
POLICY_HEAD = ("policy", "kind", "hears", "what it is", "heads that ship")
SUITE_HEAD = ("suite", "episodes", "tasks", "about")
WIDTHS = {
    "backbones": {8: 24, 9: 42},
    "suites": {2: 72, 3: 44},
}  # of columns: most characters of a line
ROBOTS_APART = """\
A head belongs to one robot, so static, temporal and sound hold the arm's tasks only (the
humanoid's: humanoid); arm is the arm's first six, all is every task but those of kind state,
claims is one ability a row."""
OWN = """\
A policy of your own is module:function. A run writes down what it says of itself: clip, needs,
name, version, files, and the hash of its module; the table and the page say that it is yours."""
ON_REQUEST = "on request"  # microphones=("mono",) of the environment; nothing depends on it


def _tasks() -> list[tuple[str, ...]]:
    return [
        TASK_HEAD,
        *(
            (
                *(entry.name, entry.env_id, entry.kind, entry.robot),
                "the cue" if entry.kind == "sound" else ON_REQUEST,
                _certificate(entry.name),
            )
            for entry in TASKS.values()
        ),
    ]


def _certificate(task: str) -> str:
    """The finding of the certificate that ships with a task, without its numbers."""
    body = read_certificate(task)
    if body is None:
        return "none"
    found = str(body["verdict"]).partition(":")[0]
    if body["kind"] != "temporal" or not body["history_gain"]:
        return found
    return f"{found} (history {100 * body['history_gain']['difference']:+.0f} points)"


def _policies() -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [POLICY_HEAD]
    rows += [(name, "scripted", "-", ABOUT_SCRIPTED[name], "needs none") for name in SCRIPTED]
    for word in ORACLES:
        ships = DEFAULT_POLICY if word in _heads(DEFAULT_POLICY) else "none"
        rows.append((word, "oracle", "no", f"a head on {CONDITIONS[word].about}", ships))
    about = "PPO on state or pixels, deaf (sound tasks: at chance); checkpoint= of neon_sim.rl"
    rows.append((PPO, "learner", "no", about, "none"))
    for name in config_names("policy"):
        if name in SCRIPTED:
            continue
        config = load_config(PolicyConfig, "policy", name, [])
        mechanism = [] if config.temporal == "none" else [config.temporal]
        sees = CONDITIONS[config.condition].tower == "image"
        backbone = config.image_backbone if sees else config.backbone
        parts = " + ".join([backbone, *mechanism, config.fusion, config.head])
        hears = "no" if config.audio == NO_AUDIO else config.audio
        heads = ", ".join(_heads(config.name)) or "none"
        rows.append((name, "network", hears, f"{parts}, by default {config.condition}", heads))
    return rows


def _heads(policy: str) -> list[str]:
    """Conditions whose heads ship."""
    return list(POLICY_PARTS.resolve("shipped_heads")(policy))


def _conditions() -> list[tuple[str, ...]]:
    return [(c.name, c.about) for c in CONDITIONS.values()]


def _backbones() -> list[tuple[str, ...]]:
    return list(POLICY_PARTS.resolve("backbone_rows")())


def _suites() -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [SUITE_HEAD]
    for name in suite_names():
        suite = load_suite(name)
        rows.append((name, str(suite.episodes), ", ".join(suite.tasks), suite.about))
    return rows


ROWS = {
    "tasks": _tasks,
    "policies": _policies,
    "conditions": _conditions,
    "backbones": _backbones,
    "suites": _suites,
}
