"""Statistics of success: one rate, two paired policies, families, early stopping.

Everything a table or a verdict prints comes from here. scipy and statsmodels do what they
do; written out are only what neither has for paired binary outcomes (Newcombe's and
Tango's intervals, the equivalence test, the cluster bootstrap, the betting e-process).
A paired comparison is a 2x2 table of episodes: ``both`` succeed, ``only_a``, ``only_b``,
``neither``; the difference is always rate(a) - rate(b).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import stats
from scipy.optimize import brentq
from scipy.special import betaln
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from neon_sim.seeding import keyed_rng

Interval = tuple[float, float]


@dataclass(frozen=True)
class PairedTable:
    """Episodes of two policies on the same initial states, counted by who succeeded."""

    both: int
    only_a: int
    only_b: int
    neither: int

    def __post_init__(self) -> None:
        if min(self.both, self.only_a, self.only_b, self.neither) < 0:
            raise ValueError(f"counts must be >= 0 (got {self})")

    @property
    def n(self) -> int:
        """Number of pairs."""
        return self.both + self.only_a + self.only_b + self.neither

    @property
    def difference(self) -> float:
        """rate(a) - rate(b), in [-1, 1]."""
        return (self.only_a - self.only_b) / self.n

    @classmethod
    def of(cls, a: Sequence[bool] | np.ndarray, b: Sequence[bool] | np.ndarray) -> PairedTable:
        """Count two equally long sequences of outcomes, element i from the same episode."""
        first, second = np.asarray(a, dtype=bool).ravel(), np.asarray(b, dtype=bool).ravel()
        if first.shape != second.shape:
            raise ValueError(f"pairs must be equally many (got {len(first)} and {len(second)})")
        return cls(
            int((first & second).sum()),
            int((first & ~second).sum()),
            int((~first & second).sum()),
            int((~first & ~second).sum()),
        )


def _check_counts(successes: int, n: int) -> None:
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"need 0 <= successes <= n and n >= 1 (got {successes} of {n})")


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Wilson's score interval of one rate, for display (Wilson 1927).

    Raises:
        ValueError: ``n < 1`` or ``successes`` outside [0, n].
    """
    _check_counts(successes, n)
    low, high = proportion_confint(successes, n, 1 - confidence, method="wilson")
    return max(float(low), 0.0), min(float(high), 1.0)


def clopper_pearson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Exact interval of one rate, whose coverage is guaranteed (Clopper and Pearson 1934).

    Raises:
        ValueError: ``n < 1`` or ``successes`` outside [0, n].
    """
    _check_counts(successes, n)
    interval = stats.binomtest(successes, n).proportion_ci(confidence, method="exact")
    return float(interval.low), float(interval.high)


def binomial_range(n: int, rate: float, confidence: float = 0.95) -> Interval:
    """Where observed rates of ``n`` tries at a known ``rate`` lie, central, so often."""
    _check_counts(0, n)
    low, high = stats.binom.interval(confidence, n, rate)
    return float(low) / n, float(high) / n


def uniform_p(draws: Sequence[int], sizes: Sequence[int]) -> float:
    """p of draws if each was even among its choices (Pearson's chi-square).

    Args:
        draws: index of what was drawn. sizes: how many choices each draw had, >= 2.
    """
    counts = np.bincount(draws, minlength=max(sizes)).astype(np.float64)
    expected = np.array([sum(1.0 / s for s in sizes if s > i) for i in range(len(counts))])
    return float(stats.chisquare(counts, expected).pvalue)


def mcnemar_exact(only_a: int, only_b: int) -> float:
    """Two-sided exact p that a pair's winner is a fair coin (McNemar 1947, binomial form).

    Args:
        only_a, only_b: discordant pairs; with none the p-value is 1.
    """
    if only_a + only_b == 0:
        return 1.0
    return float(stats.binomtest(min(only_a, only_b), only_a + only_b).pvalue)


def sign_flip(differences: Sequence[int] | np.ndarray) -> float:
    """Exact two-sided p that the sum of paired differences is symmetric about zero.

    Every episode is one unit whose sign may flip as a whole: ``differences[i]`` may add up
    several training seeds on the same episode, which are not independent. With values of
    -1, 0 and 1 it is the exact McNemar test. The distribution of the sum over all sign
    assignments is computed, not sampled.

    Args:
        differences: (E,) integers, sum over training seeds of success(a) - success(b).
    """
    sizes = np.abs(np.asarray(differences).ravel())
    observed = abs(int(np.sum(differences)))
    reach = int(sizes.sum())
    chance = np.zeros(2 * reach + 1)  # chance[reach + s] = P(sum == s)
    chance[reach] = 1.0
    for size in map(int, sizes):  # a whole float is no shift before NumPy 2
        chance = (np.roll(chance, size) + np.roll(chance, -size)) / 2
    totals = np.abs(np.arange(-reach, reach + 1))
    return float(min(chance[totals >= observed].sum(), 1.0))


def newcombe_paired(table: PairedTable, confidence: float = 0.95) -> Interval:
    """Interval of the paired difference by square-and-add (Newcombe 1998, method 10).

    R. G. Newcombe, "Improved confidence intervals for the difference between binomial
    proportions based on paired data", Statistics in Medicine 17, 2635-2650.
    """
    a, b, c, d = table.both, table.only_a, table.only_b, table.neither
    n = table.n
    p1, p2 = (a + b) / n, (a + c) / n
    (low1, high1), (low2, high2) = wilson(a + b, n, confidence), wilson(a + c, n, confidence)
    phi = _newcombe_phi(a, b, c, d)
    down, up = p1 - low1, high2 - p2
    below = np.sqrt(down**2 - 2 * phi * down * up + up**2)
    up, down = high1 - p1, p2 - low2
    above = np.sqrt(up**2 - 2 * phi * up * down + down**2)
    return float(p1 - p2 - below), float(p1 - p2 + above)


def _newcombe_phi(a: int, b: int, c: int, d: int) -> float:
    """Correlation of the pair, positive values shrunk by the continuity correction."""
    scale = float(a + b) * (c + d) * (a + c) * (b + d)
    if scale == 0:
        return 0.0
    product = float(a * d - b * c)
    if product > 0:
        product = max(product - (a + b + c + d) / 2, 0.0)
    return product / float(np.sqrt(scale))


def tango_z(table: PairedTable, difference: float) -> float:
    """Score statistic of H0: rate(a) - rate(b) == ``difference`` (Tango 1998).

    T. Tango, "Equivalence test and confidence interval for the difference in proportions
    for the paired-sample design", Statistics in Medicine 17, 891-908.
    """
    n, b, c, delta = table.n, table.only_a, table.only_b, difference
    linear = -b - c + (2 * n - b + c) * delta
    root = np.sqrt(max(linear**2 + 8 * n * c * delta * (1 - delta), 0.0))
    q = (root - linear) / (4 * n)  # restricted estimate of P(only b)
    variance = n * (2 * q + delta * (1 - delta))
    gap = b - c - n * delta
    if variance <= 1e-12:
        return 0.0 if abs(gap) < 1e-9 else float(np.copysign(np.inf, gap))
    return float(gap / np.sqrt(variance))


def tango_interval(table: PairedTable, confidence: float = 0.95) -> Interval:
    """Interval of the paired difference by inverting Tango's score test."""
    z = float(stats.norm.ppf(0.5 + confidence / 2))
    estimate, edge = table.difference, 1 - 1e-9

    def end(sign: float, limit: float) -> float:
        def excess(delta: float) -> float:
            return tango_z(table, delta) - sign * z

        inner = estimate - sign * 1e-12
        if excess(limit) * excess(inner) >= 0:
            return float(np.sign(limit))
        return float(brentq(excess, min(inner, limit), max(inner, limit), xtol=1e-10))

    return end(1.0, -edge), end(-1.0, edge)


def equivalence_p(table: PairedTable, margin: float) -> float:
    """Two one-sided tests that the paired difference lies within +-``margin``.

    Args:
        table: the pairs.
        margin: in (0, 1); 0.05 is five points.

    Returns:
        The larger of the two one-sided p-values (Tango's score test): equivalence is
        claimed at level alpha when it is at most alpha.

    Raises:
        ValueError: ``margin`` is not in (0, 1), or there is no pair.
    """
    if not 0 < margin < 1 or table.n < 1:
        raise ValueError(f"need a margin in (0, 1) and a pair (got {margin}, n = {table.n})")
    above = stats.norm.sf(tango_z(table, -margin))
    below = stats.norm.cdf(tango_z(table, margin))
    return float(max(above, below))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment over a family (Holm 1979), in the order given."""
    if len(p_values) == 0:
        return []
    return [float(p) for p in multipletests(list(p_values), method="holm")[1]]


def cluster_bootstrap(
    values: np.ndarray, confidence: float = 0.95, resamples: int = 4000, seed: int = 0
) -> Interval:
    """Percentile interval of a mean when training seeds and episodes are both samples.

    Training seeds and episodes are crossed (every seed meets the same episodes), so both
    are drawn with replacement, independently, and a resample is the mean over the drawn
    rows and columns.

    Args:
        values: (S, E) success, or difference of success, of training seed s on episode e.
        confidence: coverage aimed at.
        resamples: number of resamples.
        seed: of the resampling; the same values give the same interval.

    Raises:
        ValueError: ``values`` is not a matrix with at least one element.
    """
    means = _cluster_means(values, resamples, seed)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def cluster_equivalence_p(
    values: np.ndarray, margin: float, resamples: int = 4000, seed: int = 0
) -> float:
    """Two one-sided tests that a mean difference lies within +-``margin``, by bootstrap.

    The counterpart of ``equivalence_p`` for (S, E) differences: the larger share of
    resamples at or beyond either margin, with one resample added so that it is never 0.
    """
    if not 0 < margin < 1:
        raise ValueError(f"need a margin in (0, 1) (got {margin})")
    means = _cluster_means(values, resamples, seed)
    beyond = max(int((means >= margin).sum()), int((means <= -margin).sum()))
    return (beyond + 1) / (resamples + 1)


def smallest_shown(n: int, others: Sequence[float] = (), alpha: float = 0.05) -> float | None:
    """Smallest paired difference that ``n`` episodes could have shown.

    Args:
        n: episodes. others: p of the other comparisons of the family (Holm). alpha: of the family.

    Returns:
        Share of episodes that would have had to differ, all in one direction, for the exact test
        to reject; None when not even all of them would do.
    """
    steps = len(others) + 1
    for p in sorted(others):  # Holm's steps that come before this comparison's
        if p > alpha / steps:
            break
        steps -= 1
    for count in range(1, n + 1):
        if mcnemar_exact(0, count) <= alpha / steps:
            return count / n
    return None


@lru_cache
def episodes_for_equivalence(margin: float, alpha: float = 0.05) -> int:
    """Fewest episodes that, if none differs, show equivalence within +-``margin``.

    By ``equivalence_p``: 25 for a margin of 0.1 at level 0.05.
    """
    counts = itertools.count(1)
    return next(n for n in counts if equivalence_p(PairedTable(n, 0, 0, 0), margin) <= alpha)


def _cluster_means(values: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """(resamples,) means over rows and columns drawn with replacement."""
    matrix = np.asarray(values, dtype=np.float64)
    if matrix.ndim != 2 or matrix.size == 0:
        raise ValueError(f"values must be (seeds, episodes), not empty (got {matrix.shape})")
    num_seeds, num_episodes = matrix.shape
    rng = keyed_rng("cluster_bootstrap", seed)
    rows = rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), resamples)
    columns = rng.multinomial(num_episodes, np.full(num_episodes, 1 / num_episodes), resamples)
    sums: np.ndarray = np.einsum("rs,se,re->r", rows, matrix, columns, optimize=True)
    return sums / matrix.size


def e_value(wins_a: int, wins_b: int, prior: float = 0.5) -> float:
    """Evidence against "a discordant pair is a fair coin", valid at every look.

    The wealth of a gambler who starts with 1 and bets on each discordant pair; the bets are
    mixed over Beta(``prior``, ``prior``) (prior 1/2 is the Krichevsky-Trofimov mixture).
    Under the null the process of these values is a martingale, so by Ville's inequality it
    ever reaches 1 / alpha with probability at most alpha (Shafer et al. 2011).

    Args:
        wins_a, wins_b: discordant pairs so far, by winner.
        prior: of the mixture, > 0.
    """
    n = wins_a + wins_b
    log_mixture = betaln(wins_a + prior, wins_b + prior) - betaln(prior, prior)
    return float(np.exp(min(log_mixture + n * np.log(2.0), 700.0)))


def e_process(differences: Sequence[int] | np.ndarray, prior: float = 0.5) -> np.ndarray:
    """The e-value after each pair.

    Args:
        differences: (N,) in {-1, 0, 1}: success(a) - success(b) of each pair, in order.

    Returns:
        (N,) float64.
    """
    signs = np.asarray(differences)
    wins, losses = np.cumsum(signs > 0), np.cumsum(signs < 0)
    n = wins + losses
    log_mixture = betaln(wins + prior, losses + prior) - betaln(prior, prior)
    values: np.ndarray = np.exp(np.minimum(log_mixture + n * np.log(2.0), 700.0))
    return values


def mean_e_value(differences: np.ndarray, prior: float = 0.5) -> float:
    """E-value over several training seeds: the mean of theirs.

    A mean of e-values is an e-value whatever the dependence between them, so seeds that
    share episodes are no trouble.

    Args:
        differences: (S, N) in {-1, 0, 1}.
    """
    rows = np.atleast_2d(np.asarray(differences))
    values = [e_value(int((row > 0).sum()), int((row < 0).sum()), prior) for row in rows]
    return float(np.mean(values))
