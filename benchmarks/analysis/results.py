"""The shapes of what a run comes to: rates, cells, comparisons, claims, the summary.

They are JSON objects with typed keys, since ``summary.json`` is what users' programs read: what is
computed is what is written, and nothing is converted in between. A key that may be absent is
``NotRequired``. Rates, differences and intervals are in [0, 1] or [-1, 1], never in percent.
"""

from __future__ import annotations

from typing import Literal, NotRequired

from typing_extensions import TypedDict

from ..runs.own_policy import OwnPolicyRecord
from ..runs.stored import Decision

Outcome = Literal["better", "worse", "equivalent", "open", "small", "incomparable"]


class SeedRate(TypedDict):
    """Success of one training seed; None where nothing was measured."""

    train_seed: int | None
    n: int
    successes: int
    rate: float | None
    wilson: list[float] | None


class Rate(TypedDict):
    """Success of a column on a task; None where nothing was measured.

    ``interval`` is the one to show: ``wilson`` for one training seed, ``cluster`` for several.
    """

    n: int
    successes: int
    rate: float | None
    wilson: list[float] | None
    interval: list[float] | None
    cluster: NotRequired[list[float]]


class Unmeasured(TypedDict):
    """What a comparison lacks: pairs without an outcome, and of a and b the rows behind them."""

    pairs: int
    rows: list[int]
    raised: list[int]
    missing: list[int]


class Numbers(TypedDict):
    """What a comparison of success counts; ``difference`` is rate(b) - rate(a).

    ``p`` is of the difference, ``p_equivalent`` of the equivalence within the margin.
    """

    only_a: int
    only_b: int
    both: int
    neither: int
    difference: float
    interval: list[float]
    interval_method: str
    difference_per_train_seed: list[float]
    p: float
    p_equivalent: float
    p_holm: NotRequired[float]


class Way(Numbers):
    """The same comparison with everything that is not known in favour of one side."""

    episodes: int


class Turned(TypedDict):
    """What changes of a comparison's numbers when its sides are swapped."""

    only_a: int
    only_b: int
    difference: float
    interval: list[float]


class Comparison(TypedDict):
    """Two columns (policy, condition) of a task on the same episodes.

    The keys of ``Numbers`` are absent where no pair was measured. ``p_holm`` is ``p`` corrected
    within its family, ``incomparable`` the reason why no verdict can stand.
    """

    a: list[str]
    b: list[str]
    n: int
    episodes: NotRequired[int]
    train_seeds: NotRequired[list[int | None]]
    unmeasured: NotRequired[Unmeasured]
    only_a: NotRequired[int]
    only_b: NotRequired[int]
    both: NotRequired[int]
    neither: NotRequired[int]
    difference: NotRequired[float]
    interval: NotRequired[list[float]]
    interval_method: NotRequired[str]
    difference_per_train_seed: NotRequired[list[float]]
    p: NotRequired[float]
    p_equivalent: NotRequired[float]
    p_holm: NotRequired[float]
    ways: NotRequired[list[Way]]
    incomparable: NotRequired[str]
    outcome: NotRequired[Outcome]
    smallest_shown: NotRequired[float | None]


class ClaimTest(Comparison):
    """One test behind a claim: of success, or of the logarithm of a ratio of smoothness."""

    task: str


class Claim(TypedDict):
    """A claim about a policy: its tests, what did not run, and what they come to."""

    policy: str
    claim: str
    measure: str
    tests: list[ClaimTest]
    lacking: list[str]
    verdict: NotRequired[str]
    why: NotRequired[str]


class Swapped(Rate):
    """Success by the cue that sounded, compared with success under the true sound."""

    against: Comparison


class LimitShare(TypedDict):
    """Share of control steps in which some joint was at a limit."""

    mean: float
    worst: float


class PlottedCell(TypedDict):
    """What a chart shows of a column on a task."""

    policy: str
    condition: str
    any_time: Rate
    per_train_seed: list[SeedRate]


class CellSummary(PlottedCell):
    """One square of the table: a column on a task. A mean of no rows is None.

    Units: ``mean_jerk`` rad/s^3, ``boundary_jump`` rad, times in ms, ``wall_s`` in seconds.
    """

    train_seeds: list[int | None]
    n: int
    final: Rate
    swapped: Swapped | None
    limits: dict[str, LimitShare]
    replan_steps: int | None
    latency_steps: int | None
    progress: float | None
    mean_jerk: float | None
    boundary_jump: float | None
    steps: float | None
    inference_ms: float | None
    observe_ms: float | None
    wall_s: float | None
    errors: int
    missing: int


class TaskEntry(TypedDict):
    """Everything about one task."""

    kind: str
    cells: list[CellSummary]
    pairs: list[Comparison]
    verdict: NotRequired[str]


class Failure(TypedDict):
    """A row that raised."""

    task: str
    policy: str
    condition: str
    train_seed: int | None
    seed: int
    episode: int
    error: str | None


class Summary(TypedDict):
    """``summary.json``; keys that ``NotRequired`` marks are added by ``run`` and ``compare``."""

    version: int
    alpha: float
    margin: float
    verdict: str
    tasks: dict[str, TaskEntry]
    failures: NotRequired[list[Failure]]
    decisions: NotRequired[dict[str, Decision]]
    claims: NotRequired[list[Claim]]
    left_out: NotRequired[list[str]]
    own_policies: NotRequired[dict[str, list[OwnPolicyRecord]]]
    drawn_weights: NotRequired[dict[str, list[str]]]
    training_seeds: NotRequired[list[str]]
