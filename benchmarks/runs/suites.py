"""Suites: named lists of tasks, one YAML each in ``configs/suite/``."""

from __future__ import annotations

from dataclasses import dataclass, field

from neon_sim.config.loading import config_names, load_config
from neon_sim.errors import ConfigError
from neon_sim.registry import task_entry
from neon_sim.rules import Episodes, hold_rules

GROUP = "suite"


@dataclass
class SuiteConfig:
    """A list of tasks that are run and reported together.

    Attributes:
        tasks: registry names, in the order of tables.
        episodes: of every cell, unless the command line says otherwise.
        policies: who plays when the command line names nobody.
        about: what `neon-bench list suites` says of it.
        heads_by: script that trains the heads of its policies where none ship, and runs it.
        claims: ability that is claimed for video models -> tasks that back it by success.
        smoothness: likewise, tasks that back it by jerk and jumps (``benchmarks.claims``).
    """

    tasks: list[str] = field(default_factory=list)
    episodes: Episodes = 200
    policies: list[str] = field(default_factory=list)
    about: str = ""
    heads_by: str = ""
    claims: dict[str, list[str]] = field(default_factory=dict)
    smoothness: dict[str, list[str]] = field(default_factory=dict)

    def validate(self) -> None:
        """Hold the rules of the docstring.

        Raises:
            ConfigError: no tasks or episodes, or a claim without or with other tasks.
            UnknownNameError: no such task.
        """
        hold_rules(self)
        if not self.tasks:
            raise ConfigError("a suite needs at least one task (got none); name some in tasks:")
        self.tasks = [task_entry(name).name for name in self.tasks]
        for claim, tasks in [*self.claims.items(), *self.smoothness.items()]:
            if not tasks or not set(tasks) <= set(self.tasks):
                raise ConfigError(f"claim {claim!r} must name tasks of its suite (got {tasks})")


def load_suite(name: str) -> SuiteConfig:
    """A suite by name, or by the path of a YAML of one's own.

    Raises:
        ConfigError: no such suite, or a broken one.
    """
    return load_config(SuiteConfig, GROUP, name, [])


def suite_names() -> list[str]:
    """Suites that ship with the package."""
    return config_names(GROUP)


def chosen_tasks(tasks: list[str], suite: str | None, default: str) -> list[str]:
    """Registry names of the tasks of a command line, each once.

    Args:
        tasks: names, or empty for those of ``suite``. default: the suite when both are absent.

    Raises:
        ConfigError: both are given. UnknownNameError: no such task or suite.
    """
    if tasks and suite:
        raise ConfigError("give --task or --suite, not both")
    names = tasks or load_suite(default if suite is None else suite).tasks
    return list(dict.fromkeys(task_entry(name).name for name in names))
