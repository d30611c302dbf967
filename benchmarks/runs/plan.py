"""What a run is made of: policies, conditions, tasks and episodes, resolved from words.

A run is a flat list of independent episodes. Everything that decides their outcome is in
``RunPlan.resolved()``, which goes into ``manifest.json``; worker count and batch size are
not in it, because they change nothing but the time it takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any, NamedTuple

from annotated_types import Interval

from neon_sim.chunks import BLENDINGS
from neon_sim.config.fields import known_keys
from neon_sim.config.loading import config_names, load_config, parse_overrides
from neon_sim.config.policy import PolicyConfig
from neon_sim.errors import ConfigError, RunError, unknown_name
from neon_sim.observation.conditions import CONDITIONS
from neon_sim.observation.conditions import condition as find_condition
from neon_sim.registry import POLICY_PARTS, task_entry
from neon_sim.robots import MODELS, check_body
from neon_sim.rules import hold_rules
from neon_sim.schema import checked

from .scripted import CONDITION, SCRIPTED
from .suites import load_suite

ORACLES = ("oracle_memoryless", "oracle_history")
DEFAULT_POLICY = "neon_tiny"  # whose heads the oracles and `blind` use
LISTENER = "neon_tiny_hear"  # whose heads `muted` uses where nobody is named
# What a policy of `python -m neon_sim.rl` says that it sees (its spec's ``condition``).
PPO_CONDITIONS = {
    f"{seen}{more}" for seen in ("state", "pixels", "body_state") for more in ("", "_velocities")
}
PPO = "ppo"  # what `python -m neon_sim.rl` trains
SWEPT = "@"  # between a policy's name and the settings that a sweep gave it


@dataclass
class RunOptions:
    """Settings of a run besides those of a policy, set by ``key=value``.

    Attributes:
        checkpoint: head to load instead of the shipped one; ``{condition}``,
            ``{train_seed}``, ``{task}`` and ``{policy}`` are filled in.
        blending: how consecutive chunks join, ``none`` or ``linear``.
        robot: ``primitive`` or ``menagerie``.
        start_noise: rad, perturbs the start pose of every episode.
        mode: what a policy sets of the humanoid (``arms``, ``upper_body``, ``whole_body``,
            ``whole_body_command``); empty for each task's own.
        lower: what keeps the humanoid up (``standing``, ``reflex``, ``learned``, ``harness``,
            ``base``); empty for each task's own.
    """

    checkpoint: str | None = None
    blending: str = "none"
    robot: str = "primitive"
    start_noise: Annotated[float, Interval(ge=0, le=1)] = 0.0
    mode: str = ""
    lower: str = ""

    def validate(self) -> None:
        """Hold the rules of the docstring.

        Raises:
            ConfigError: a value outside its rule. UnknownNameError: no such blending or robot.
        """
        hold_rules(self)
        if self.checkpoint is not None and not self.checkpoint.strip():
            raise ConfigError(
                "checkpoint must name a file or folder (got an empty text); an unset variable? "
                "Leave checkpoint= out for the head that ships"
            )
        if self.robot not in MODELS:
            raise unknown_name("robot", self.robot, MODELS)
        if self.blending not in BLENDINGS:
            raise unknown_name("blending", self.blending, BLENDINGS)


class Cell(NamedTuple):
    """One square of the table: who plays what, trained how."""

    task: str
    policy: str
    condition: str
    train_seed: int | None


@dataclass(frozen=True)
class PolicySpec:
    """One policy of a run.

    Attributes:
        name: what rows call it; what follows ``@`` names the settings of a sweep.
        kind: ``"scripted"``, ``"network"`` (a ``PolicyConfig``), ``"ppo"`` (of
            ``neon_sim.rl``; its one condition is what it observes) or ``"factory"`` (the user's
            own ``module:function``).
        conditions: under which it runs.
        train_seeds: of its heads; ``(None,)`` where nothing was trained.
        config: of a network; a factory uses its ``replan_steps``.
        checkpoint: path or template, None for the shipped head.
        replan_steps: control steps between two looks, instead of the policy's own.
        latency_steps: control steps a chunk comes late, instead of the run's.
    """

    name: str
    kind: str
    conditions: tuple[str, ...]
    train_seeds: tuple[int | None, ...]
    config: PolicyConfig = field(default_factory=PolicyConfig)
    checkpoint: str | None = None
    replan_steps: int | None = None
    latency_steps: int | None = None

    @property
    def base(self) -> str:
        """The name without the settings of a sweep."""
        return self.name.partition(SWEPT)[0]

    def checkpoint_of(self, cell: Cell) -> str | None:
        """Path of the head of one cell, None for the shipped one.

        Raises:
            ConfigError: the template has an unknown place holder.
        """
        if self.checkpoint is None:
            return None
        values = {**cell._asdict(), "policy": self.base}
        if self.kind != "ppo":
            values["condition"] = find_condition(cell.condition).trained_as
        try:
            return self.checkpoint.format(**values)
        except (KeyError, IndexError, ValueError) as error:
            raise ConfigError(
                f"checkpoint={self.checkpoint!r}: place holders are {{condition}}, "
                "{train_seed}, {task} and {policy}"
            ) from error


@dataclass(frozen=True)
class RunPlan:
    """A whole run, resolved.

    Attributes:
        policies: in the order of the command line.
        tasks: registry names.
        episodes: at most, of every cell.
        seed: run seed.
        latency_steps: control steps a chunk comes late.
        options: robot, start noise, blending.
        until_decided: stop a task when its first two columns are told apart.
        alpha: of that decision and of every verdict.
    """

    policies: tuple[PolicySpec, ...]
    tasks: tuple[str, ...]
    episodes: int
    seed: int = 0
    latency_steps: int = 0
    options: RunOptions = field(default_factory=RunOptions)
    until_decided: bool = False
    alpha: float = 0.05

    def columns(self) -> list[tuple[str, str]]:
        """(policy, condition) pairs in the order of the command line."""
        return [(spec.name, word) for spec in self.policies for word in spec.conditions]

    def cells(self, task: str) -> Iterator[tuple[PolicySpec, Cell]]:
        """Every cell of one task."""
        for spec in self.policies:
            for word in spec.conditions:
                for train_seed in spec.train_seeds:
                    yield spec, Cell(task, spec.name, word, train_seed)

    def resolved(self) -> dict[str, Any]:
        """Everything that decides the rows, as JSON values."""
        policies = []
        for spec in self.policies:
            entry = asdict(spec)
            entry |= {"conditions": [*spec.conditions], "train_seeds": [*spec.train_seeds]}
            if spec.kind == "scripted":
                del entry["config"], entry["checkpoint"]
            elif spec.kind == "factory":  # nothing else of a network's settings is its own
                entry["config"] = {"replan_steps": spec.config.replan_steps}
                del entry["checkpoint"]
            policies.append(entry)
        return {
            "policies": policies,
            "tasks": list(self.tasks),
            "episodes": self.episodes,
            "seed": self.seed,
            "latency_steps": self.latency_steps,
            "options": asdict(self.options),
            "until_decided": self.until_decided,
            "alpha": self.alpha,
        }


KINDS = ("scripted", "network", "ppo", "factory")


def plan_of(resolved: dict[str, Any], place: str = "manifest.json") -> RunPlan:
    """Inverse of ``RunPlan.resolved``, for runs on disk; nothing that it names is imported.

    Args:
        resolved: JSON values. place: what errors call them.

    Raises:
        RunError: the manifest is not of this version, or damaged.
    """
    from neon_sim.observation.clips import ClipConfig

    mend = "restore the manifest from a copy, or run again into another folder"
    checked(resolved, RunPlan, f"{place}: config", RunError, mend)
    try:
        policies = []
        for entry in resolved["policies"]:
            values = {**entry, "conditions": tuple(entry["conditions"])}
            values["train_seeds"] = tuple(entry["train_seeds"])
            config = values.pop("config", None)
            if config is not None:
                if "clip" in config:
                    config = {**config, "clip": ClipConfig(**config["clip"])}
                config = PolicyConfig(**config)
                values["config"] = config
            policies.append(PolicySpec(**values))
        rest = {key: resolved[key] for key in ("episodes", "seed", "latency_steps", "alpha")}
        plan = RunPlan(
            policies=tuple(policies),
            tasks=tuple(resolved["tasks"]),
            options=RunOptions(**resolved["options"]),
            until_decided=resolved["until_decided"],
            **rest,
        )
    except (KeyError, TypeError) as error:
        raise RunError(f"{place}: config is of another version ({error!r}); {mend}") from error
    broken = _broken_rule(plan)
    if broken:
        raise RunError(f"{place}: config: {broken}; {mend}")
    return plan


def _broken_rule(plan: RunPlan) -> str:
    """The first rule of ``make_plan`` that a plan on disk breaks; empty for none."""
    words = {CONDITION, *CONDITIONS}
    rules = [
        (0 < plan.alpha < 1, f"alpha must be between 0 and 1 (got {plan.alpha})"),
        (plan.episodes >= 1, f"episodes must be at least 1 (got {plan.episodes})"),
        (plan.seed >= 0, f"seed must be at least 0 (got {plan.seed})"),
        (plan.latency_steps >= 0, f"latency_steps must be at least 0 (got {plan.latency_steps})"),
        (_distinct(plan.tasks), f"tasks must be some, each once (got {plan.tasks})"),
        (_distinct([spec.name for spec in plan.policies]), "policies must be some, each once"),
    ]
    for spec in plan.policies:
        known = PPO_CONDITIONS if spec.kind == "ppo" else words
        seeds, strange = spec.train_seeds, [w for w in spec.conditions if w not in known]
        rules += [
            (spec.kind in KINDS, f"kind of {spec.name} must be one of {KINDS} (got {spec.kind})"),
            (_distinct(seeds), f"train_seeds of {spec.name} must be some, each once (got {seeds})"),
            (_distinct(spec.conditions), f"conditions of {spec.name} must be some, each once"),
            (not strange, f"{spec.name} names conditions that nobody knows ({strange})"),
        ]
    return next((text for holds, text in rules if not holds), "")


def _distinct(values: Sequence[Any]) -> bool:
    return 0 < len(values) == len(set(values))


def policy_names() -> list[str]:
    """Every policy that can be named without a path."""
    return sorted({*SCRIPTED, *ORACLES, PPO, *config_names("policy")})


def split_overrides(overrides: Sequence[str]) -> tuple[RunOptions, list[str]]:
    """Tell the run's own ``key=value`` from those of the policies.

    Raises:
        ConfigError: an argument that is not ``key=value``, an unknown key, a wrong value.
    """
    parsed = parse_overrides(overrides)
    own = known_keys(RunOptions)
    known = [*own, *known_keys(PolicyConfig)]
    roots = {key.partition(".")[0] for key in known}
    for item in parsed:
        if item.key.partition(".")[0] not in roots:
            raise unknown_name("key", item.key, known)
    mine = [str(item) for item in parsed if item.key in own]
    return load_config(RunOptions, "run", None, mine), [
        str(item) for item in parsed if item.key not in own
    ]


def make_plan(
    *,
    policies: Sequence[str],
    conditions: Sequence[str],
    tasks: Sequence[str],
    suite: str | None,
    episodes: int | None,
    seed: int,
    train_seeds: Sequence[int],
    latency_steps: int,
    until_decided: bool,
    alpha: float,
    overrides: Sequence[str],
) -> RunPlan:
    """Resolve the words of a command line.

    Args:
        policies: names, paths of policy YAML, or ``module:function``; empty for those of
            ``suite``.
        conditions: empty for each policy's own.
        tasks: names; empty for those of ``suite``.
        suite: name of ``configs/suite/`` or None.
        episodes: of every cell; None for the suite's number.
        overrides: ``key=value``.

    Raises:
        NeonError: an unknown name, or a number outside its rule.
    """
    if tasks and suite:
        raise ConfigError("give --task or --suite, not both")
    chosen = load_suite("arm" if suite is None else suite)
    names = tuple(dict.fromkeys(task_entry(name).name for name in (tasks or chosen.tasks)))
    count = chosen.episodes if episodes is None else episodes
    for key, value, low in (
        ("--episodes", count, 1),
        ("--seed", seed, 0),
        ("--latency-steps", latency_steps, 0),
    ):
        if value < low:
            raise ConfigError(f"{key} must be at least {low} (got {value})")
    if not 0 < alpha < 1:
        raise ConfigError(f"--alpha must be between 0 and 1 (got {alpha})")
    policies = policies or chosen.policies
    if not policies:
        raise ConfigError(f"--policy names no policy. Known: {', '.join(policy_names())}.")
    options, rest = split_overrides(overrides)
    check_body(names, options.mode, options.lower)
    specs = [
        _make_ppo(names[0], tuple(train_seeds), rest, options)
        if name == PPO
        else _make_spec(name, conditions, tuple(train_seeds), rest, options)
        for name in dict.fromkeys(policies)
    ]
    if rest and not any(spec.kind != "scripted" for spec in specs):
        raise ConfigError(f"{rest[0]} is for a policy with a network, and none is named")
    _check_own(specs, rest, options)
    plan = RunPlan(
        tuple(_merge(specs)), names, count, seed, latency_steps, options, until_decided, alpha
    )
    if until_decided and len(plan.columns()) < 2:
        raise ConfigError("--until-decided compares the first two columns; there is only one")
    check_swaps(plan)
    return plan


def swaps_sound(word: str) -> bool:
    """Whether a condition lets a policy hear another episode's sound."""
    return word in CONDITIONS and CONDITIONS[word].sound == "swap"


def check_swaps(plan: RunPlan) -> None:
    """Only a sound task has a cue that could be swapped.

    Raises:
        ConfigError: another kind of task under a condition that swaps the sound.
    """
    words = [word for _, word in plan.columns() if swaps_sound(word)]
    deaf = [name for name in plan.tasks if task_entry(name).kind != "sound"]
    if words and deaf:
        raise ConfigError(
            f"condition {words[0]} swaps the cue of a sound task (got {', '.join(deaf)}); run it "
            "with --suite sound, or leave the condition out"
        )


def _make_spec(
    name: str,
    conditions: Sequence[str],
    train_seeds: tuple[int, ...],
    overrides: list[str],
    options: RunOptions,
) -> PolicySpec:
    if name in SCRIPTED:
        return PolicySpec(name, "scripted", (CONDITION,), (None,))
    for word in conditions:
        find_condition(word)
    if name in ORACLES:
        config = load_config(PolicyConfig, "policy", DEFAULT_POLICY, overrides)
        config.check_budget(name)
        return PolicySpec(config.name, "network", (name,), train_seeds, config, options.checkpoint)
    if ":" in name:
        config = load_config(PolicyConfig, "policy", None, overrides)
        words = tuple(conditions) or (config.condition,)
        own = PolicyConfig(replan_steps=config.replan_steps)
        return PolicySpec(name, "factory", words, train_seeds, own)
    if not name.endswith((".yaml", ".yml")) and name not in config_names("policy"):
        raise unknown_name("policy", name, policy_names())
    config = load_config(PolicyConfig, "policy", name, overrides)
    words = tuple(dict.fromkeys(conditions)) or (config.condition,)
    for word in words:
        config.check_budget(word)
    return PolicySpec(config.name, "network", words, train_seeds, config, options.checkpoint)


def _check_own(specs: Sequence[PolicySpec], rest: Sequence[str], options: RunOptions) -> None:
    """Settings of networks reach no policy of the user's own, so where there is no other they err.

    Raises:
        ConfigError: names the setting.
    """
    if {spec.kind for spec in specs} - {"scripted"} != {"factory"}:
        return
    lost = [item for item in rest if not item.startswith(("replan_steps=", "condition="))]
    lost += [f"checkpoint={options.checkpoint}"] if options.checkpoint is not None else []
    if lost:
        own = next(spec.name for spec in specs if spec.kind == "factory")
        raise ConfigError(
            f"{lost[0]} does not reach {own}, a policy of your own: it is called with condition, "
            "task and train_seed, and of settings replan_steps= is its own; set it in your module"
        )


def _make_ppo(
    task: str, train_seeds: tuple[int, ...], overrides: list[str], options: RunOptions
) -> PolicySpec:
    """``ppo`` as its checkpoint of one task says that it sees and holds its actions.

    Raises:
        ConfigError: no checkpoint is named. CheckpointError: it is missing or foreign.
    """
    if options.checkpoint is None:
        raise ConfigError(
            "policy 'ppo' ships no weights: give checkpoint=PATH of what `python -m neon_sim.rl "
            f"task={task} out=DIR` trained"
        )
    config = load_config(PolicyConfig, "policy", None, overrides)
    spec = PolicySpec(PPO, "ppo", ("state",), train_seeds, config, options.checkpoint)
    path = spec.checkpoint_of(Cell(task, PPO, "state", train_seeds[0]))
    held = [item for item in overrides if item.startswith("replan_steps=")]
    load = POLICY_PARTS.resolve("load_ppo")
    trained = load(path, task, config.replan_steps if held else None)
    config = replace(config, replan_steps=trained.replan_steps)
    return replace(spec, config=config, conditions=(trained.spec.condition,))


def _merge(specs: Sequence[PolicySpec]) -> list[PolicySpec]:
    """Join specs of one policy (``neon_tiny,oracle_history``), conditions in order."""
    merged: dict[str, PolicySpec] = {}
    for spec in specs:
        known = merged.get(spec.name)
        if known is None:
            merged[spec.name] = spec
        elif replace(known, conditions=()) == replace(spec, conditions=()):
            words = tuple(dict.fromkeys([*known.conditions, *spec.conditions]))
            merged[spec.name] = replace(known, conditions=words)
        else:
            raise ConfigError(f"two different policies are called {spec.name!r}; rename one")
    return list(merged.values())
