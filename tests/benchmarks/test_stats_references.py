"""Statistics against references of other making: enumeration, closed forms, integrals.

``test_stats.py`` holds the published examples. Here nothing is taken from
``neon_sim.benchmarks.analysis.statistics``: distributions are enumerated, likelihoods maximised by
search, quadratics solved, mixtures integrated.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import integrate, optimize, special
from scipy.stats import beta, norm

from neon_sim.benchmarks.analysis.statistics import (
    PairedTable,
    binomial_range,
    clopper_pearson,
    cluster_bootstrap,
    cluster_equivalence_p,
    e_process,
    e_value,
    episodes_for_equivalence,
    equivalence_p,
    holm,
    mcnemar_exact,
    mean_e_value,
    newcombe_paired,
    sign_flip,
    smallest_shown,
    tango_interval,
    tango_z,
    uniform_p,
    wilson,
)
from neon_sim.seeding import key_of

TABLES = [
    PairedTable(*counts)
    for counts in [
        (5, 3, 1, 2),
        (1, 7, 2, 1),  # negative correlation
        (12, 4, 4, 30),
        (30, 0, 9, 11),
        (0, 6, 6, 0),
        (7, 2, 0, 1),
        (2, 1, 1, 3),  # a positive correlation that the continuity correction shrinks to none
        (40, 12, 3, 45),
        (1, 0, 0, 1),  # ad - bc is 1
        (0, 0, 3, 5),  # a never succeeds
        (4, 0, 3, 0),  # b always does
    ]
]
ONE_SIDED = [PairedTable(20, 0, 0, 0), PairedTable(0, 0, 0, 9), PairedTable(8, 0, 0, 5)]


def z_of(confidence: float) -> float:
    """Two-sided normal quantile."""
    return float(norm.isf((1 - confidence) / 2))


# ---- tables ----


def test_a_table_counts_who_succeeded() -> None:
    a = [True, True, False, False, True, False, False]
    b = [True, False, True, True, False, False, True]
    table = PairedTable.of(a, b)
    assert table == PairedTable(both=1, only_a=2, only_b=3, neither=1)
    assert table.n == 7
    assert table.difference == pytest.approx(3 / 7 - 4 / 7)
    assert PairedTable.of(np.array([a, b]), np.array([b, a])).n == 14
    assert PairedTable(0, 0, 0, 0).n == 0
    assert PairedTable.of([2, 0.5, 0, 0], [1, 0, "x", 0]) == PairedTable(1, 1, 1, 1), "as truth"
    with pytest.raises(ValueError, match=r"equally many \(got 2 and 1\)"):
        PairedTable.of([True, False], [True])


@pytest.mark.parametrize("place", range(4))
def test_a_table_has_no_negative_count(place: int) -> None:
    counts = [1, 1, 1, 1]
    counts[place] = -1
    with pytest.raises(ValueError, match="must be >= 0"):
        PairedTable(*counts)


# ---- one rate ----


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.99])
def test_wilson_solves_its_quadratic(confidence: float) -> None:
    """The limits are where (rate - p)^2 = z^2 p (1 - p) / n."""
    z = z_of(confidence)
    for n in (1, 2, 7, 40):
        for k in range(n + 1):
            rate = k / n
            roots = np.roots([1 + z**2 / n, -2 * rate - z**2 / n, rate**2])
            assert wilson(k, n, confidence) == pytest.approx(sorted(roots.real), abs=1e-7)


def test_wilson_never_leaves_0_to_1() -> None:
    for n in range(1, 400):
        low, high = wilson(0, n)[0], wilson(n, n)[1]
        assert low >= 0.0
        assert high <= 1.0
        assert (low, high) == pytest.approx((0.0, 1.0), abs=1e-12)


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_clopper_pearson_is_quantiles_of_beta(confidence: float) -> None:
    tail = (1 - confidence) / 2
    for n in (1, 5, 30):
        for k in range(n + 1):
            low = beta.ppf(tail, k, n - k + 1) if k else 0.0
            high = beta.ppf(1 - tail, k + 1, n - k) if k < n else 1.0
            assert clopper_pearson(k, n, confidence) == pytest.approx((low, high), abs=1e-9)


@pytest.mark.parametrize(("n", "rate", "confidence"), [(20, 0.25, 0.95), (200, 0.25, 0.95),
                                                       (9, 0.5, 0.8), (1, 0.5, 0.95)])  # fmt: skip
def test_binomial_range_is_the_central_part_of_the_distribution(n, rate, confidence) -> None:
    chances = [math.comb(n, k) * rate**k * (1 - rate) ** (n - k) for k in range(n + 1)]
    tail = (1 - confidence) / 2
    below = list(itertools.accumulate(chances))
    low = next(k for k in range(n + 1) if below[k] >= tail)
    high = next(k for k in range(n + 1) if below[k] >= 1 - tail)
    assert binomial_range(n, rate, confidence) == pytest.approx((low / n, high / n))


def test_the_range_of_observed_rates_defaults_to_95_percent() -> None:
    assert binomial_range(50, 0.3) == binomial_range(50, 0.3, 0.95) != binomial_range(50, 0.3, 0.9)
    with pytest.raises(ValueError, match="n >= 1"):
        binomial_range(0, 0.5)


def test_uniform_p_is_pearsons_with_a_choice_of_its_own_for_every_draw() -> None:
    draws, sizes = [0, 0, 1, 2, 0, 1, 0, 0], [2, 3, 3, 3, 2, 2, 4, 3]
    observed = [5, 2, 1, 0]
    # each draw expects 1 / size of itself in each of its choices
    expected = [3 / 2 + 4 / 3 + 1 / 4, 3 / 2 + 4 / 3 + 1 / 4, 4 / 3 + 1 / 4, 1 / 4]
    statistic = sum((o - e) ** 2 / e for o, e in zip(observed, expected, strict=True))
    assert uniform_p(draws, sizes) == pytest.approx(special.gammaincc(3 / 2, statistic / 2))
    assert uniform_p([0, 1, 0, 1], [2, 2, 2, 2]) == pytest.approx(1.0)
    assert uniform_p([0] * 40, [2] * 40) < 1e-8


# ---- exact tests ----


def test_mcnemar_enumerated() -> None:
    for b in range(9):
        for c in range(9):
            n, extreme = b + c, max(b, c)
            tail = sum(math.comb(n, k) for k in range(extreme, n + 1)) / 2**n
            assert mcnemar_exact(b, c) == pytest.approx(min(2 * tail, 1.0))


def test_sign_flip_enumerated_over_all_assignments() -> None:
    rng = np.random.default_rng(0)
    for length in range(1, 9):
        for _ in range(12):
            differences = rng.integers(-4, 5, length)
            sums = [
                abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
                for signs in itertools.product((-1, 1), repeat=length)
            ]
            extreme = np.mean([total >= abs(differences.sum()) for total in sums])
            assert sign_flip(differences) == pytest.approx(extreme)
            assert sign_flip(differences) <= 1.0


def test_sign_flip_takes_any_shape_and_nothing() -> None:
    assert sign_flip([]) == 1.0
    assert sign_flip(np.array([[1, 1], [1, 1]])) == sign_flip([1, 1, 1, 1]) == 2 / 2**4
    assert sign_flip([3.0, -1.0, 2.0]) == sign_flip([3, -1, 2])
    assert sign_flip([4, -4] * 20 + [1, -1] * 10) == 1.0, "the sum is rounded beyond 1"
    assert sign_flip([1] * 3000) == pytest.approx(0.0, abs=1e-300)


def stepped_down(p_values: Sequence[float]) -> list[float]:
    """Adjusted p: the largest of (m - rank) p over all p that are not larger."""
    size = len(p_values)
    order = np.argsort(p_values, kind="stable")
    scaled = [(size - rank) * p_values[i] for rank, i in enumerate(order)]
    adjusted = np.empty(size)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return adjusted.tolist()


def test_holm_by_its_definition() -> None:
    rng = np.random.default_rng(1)
    for size in (1, 2, 5, 9):
        p_values = (rng.random(size) ** 3).tolist()
        have = holm(p_values)
        assert have == pytest.approx(stepped_down(p_values))
        assert all(type(p) is float for p in have)


# ---- intervals of a paired difference ----


@pytest.mark.parametrize("confidence", [0.8, 0.95])
@pytest.mark.parametrize("table", [*TABLES, *ONE_SIDED], ids=str)
def test_newcombe_squares_and_adds(table: PairedTable, confidence: float) -> None:
    """Method 10: distances of Wilson's limits from the two rates, joined by the law of cosines."""
    z, n = z_of(confidence), table.n
    a, b, c, d = table.both, table.only_a, table.only_b, table.neither

    def limits(k: int) -> tuple[float, float, float]:
        rate = k / n
        middle = (rate + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z / (1 + z**2 / n) * math.sqrt(rate * (1 - rate) / n + z**2 / (4 * n**2))
        return rate, middle - half, middle + half

    margins = (a + b) * (c + d) * (a + c) * (b + d)
    over: float = a * d - b * c
    if over > 0:
        over = max(over - n / 2, 0.0)
    phi = over / math.sqrt(margins) if margins else 0.0
    (p1, low1, high1), (p2, low2, high2) = limits(a + b), limits(a + c)
    below = (p1 - low1) ** 2 - 2 * phi * (p1 - low1) * (high2 - p2) + (high2 - p2) ** 2
    above = (high1 - p1) ** 2 - 2 * phi * (high1 - p1) * (p2 - low2) + (p2 - low2) ** 2
    want = (p1 - p2 - math.sqrt(max(below, 0)), p1 - p2 + math.sqrt(max(above, 0)))
    assert newcombe_paired(table, confidence) == pytest.approx(want, abs=1e-7)


def score(table: PairedTable, delta: float) -> float:
    """Tango's statistic, its restricted estimate found by maximising the likelihood."""
    rest = table.both + table.neither

    def unlikely(q: float) -> float:
        chances = (q + delta, q, 1 - 2 * q - delta)
        counts = (table.only_a, table.only_b, rest)
        return -float(np.sum(special.xlogy(counts, np.maximum(chances, 1e-300))))

    bounds = (max(0.0, -delta), (1 - delta) / 2)
    q = optimize.minimize_scalar(
        unlikely, bounds=bounds, method="bounded", options={"xatol": 1e-12}
    ).x
    gap = table.only_a - table.only_b - table.n * delta
    return float(gap / math.sqrt(table.n * (2 * q + delta - delta**2)))


@pytest.mark.parametrize("table", TABLES, ids=str)
def test_tango_z_with_the_likelihood_maximised_by_search(table: PairedTable) -> None:
    for delta in (-0.6, -0.3, -0.1, 0.02, 0.15, 0.5):
        assert tango_z(table, delta) == pytest.approx(score(table, delta), rel=2e-3, abs=2e-3)


@pytest.mark.parametrize("confidence", [0.8, 0.95])
@pytest.mark.parametrize("table", TABLES, ids=str)
def test_tango_limits_are_where_the_score_is_z(table: PairedTable, confidence: float) -> None:
    z = z_of(confidence)
    low, high = tango_interval(table, confidence)
    assert -1 < low < table.difference < high < 1
    assert score(table, low) == pytest.approx(z, abs=5e-3)
    assert score(table, high) == pytest.approx(-z, abs=5e-3)


@pytest.mark.parametrize("n", [1, 9, 20, 400])
def test_tango_where_nobody_differs_in_closed_form(n: int) -> None:
    """With no discordant pair z^2 = n d / (1 - d), so the limit is z^2 / (n + z^2)."""
    for table in (PairedTable(n, 0, 0, 0), PairedTable(0, 0, 0, n)):
        z = z_of(0.95)
        limit = z**2 / (n + z**2)
        assert tango_interval(table) == pytest.approx((-limit, limit), abs=1e-8)
        for margin in (0.05, 0.2):
            p = norm.sf(math.sqrt(n * margin / (1 - margin)))
            assert tango_z(table, margin) == pytest.approx(-math.sqrt(n * margin / (1 - margin)))
            assert equivalence_p(table, margin) == pytest.approx(p)


def test_tango_where_everybody_differs_one_way() -> None:
    for n, confidence in ((25, 0.95), (25, 0.5), (1, 0.5), (1, 0.99)):
        z = z_of(confidence)
        low, high = tango_interval(PairedTable(0, n, 0, 0), confidence)
        assert high == 1.0
        # only a, always: the restricted estimate is (1 - d) / 2, so z^2 = n (1 - d) / (1 + d)
        assert low == pytest.approx((n - z**2) / (n + z**2), abs=1e-8)
        mirrored = tango_interval(PairedTable(0, 0, n, 0), confidence)
        assert mirrored == pytest.approx((-high, -low), abs=1e-8)


def test_tango_without_any_variance_is_nothing_or_infinite() -> None:
    agree = PairedTable(4, 0, 0, 3)
    assert tango_z(agree, 0.0) == 0.0
    assert tango_z(agree, 1.0) == tango_z(PairedTable(1, 0, 0, 0), 1.0) == -math.inf
    assert tango_z(agree, -1.0) == math.inf
    assert tango_z(PairedTable(0, 5, 0, 0), 1.0) == 0.0
    assert tango_z(PairedTable(0, 0, 5, 0), -1.0) == 0.0


@pytest.mark.parametrize("table", TABLES, ids=str)
def test_equivalence_is_the_worse_of_two_one_sided_tests(table: PairedTable) -> None:
    for margin in (0.05, 0.1, 0.3):
        want = max(norm.sf(score(table, -margin)), norm.cdf(score(table, margin)))
        assert equivalence_p(table, margin) == pytest.approx(want, abs=2e-3)


@pytest.mark.parametrize("margin", [0.0, 1.0, -0.1, 1.2])
def test_a_margin_lies_between_0_and_1(margin: float) -> None:
    with pytest.raises(ValueError, match=r"margin in \(0, 1\)"):
        equivalence_p(PairedTable(9, 0, 0, 0), margin)
    with pytest.raises(ValueError, match=r"margin in \(0, 1\)"):
        cluster_equivalence_p(np.zeros((2, 3)), margin)


def test_equivalence_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="n = 0"):
        equivalence_p(PairedTable(0, 0, 0, 0), 0.1)
    assert equivalence_p(PairedTable(1, 0, 0, 0), 0.1) < 0.5


@pytest.mark.parametrize("margin", [0.02, 0.1, 0.25, 0.9])
@pytest.mark.parametrize("alpha", [0.01, 0.05])
def test_fewest_episodes_for_equivalence_in_closed_form(margin: float, alpha: float) -> None:
    """n d / (1 - d) >= z^2."""
    want = math.ceil(norm.isf(alpha) ** 2 * (1 - margin) / margin)
    assert episodes_for_equivalence(margin, alpha) == want
    assert episodes_for_equivalence(margin) == episodes_for_equivalence(margin, 0.05)
    just = equivalence_p(PairedTable(want, 0, 0, 0), margin)
    assert episodes_for_equivalence(margin, just) == want, "at most alpha"


def test_smallest_shown_is_where_holm_would_reject() -> None:
    families = [
        [],
        [0.5],
        [0.5, 0.01, 1e-6],
        [1e-6, 1e-4, 0.006, 0.01, 0.5],
        [0.02, 0.03],
        [0.05],
        [0.025, 1.0],
    ]
    for others, alpha in itertools.product(families, (0.05, 0.1, 0.01)):
        for n in (4, 9, 30):
            found = [
                count / n
                for count in range(1, n + 1)
                if stepped_down([2 / 2**count, *others])[0] <= alpha * (1 + 1e-12)
            ]
            assert smallest_shown(n, others, alpha) == (found[0] if found else None)
    assert smallest_shown(30, [0.5]) == smallest_shown(30, [0.5], 0.05)
    assert smallest_shown(1, alpha=1.0) == 1.0


# ---- several training seeds ----


def resampled(values: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Means over rows and columns drawn with replacement, one after the other."""
    rows, columns = values.shape
    rng = np.random.default_rng(np.random.SeedSequence([key_of("cluster_bootstrap"), seed]))
    times_row = rng.multinomial(rows, [1 / rows] * rows, resamples)
    times_column = rng.multinomial(columns, [1 / columns] * columns, resamples)
    means = [
        np.repeat(np.repeat(values, r, axis=0), c, axis=1).mean()
        for r, c in zip(times_row, times_column, strict=True)
    ]
    return np.array(means)


def test_cluster_bootstrap_draws_rows_and_columns_with_replacement() -> None:
    """The same draws in every version: the intervals of a run that is there do not move."""
    values = np.random.default_rng(3).integers(-1, 2, (3, 11))
    for confidence, seed in ((0.95, 0), (0.5, 4)):
        tail = (1 - confidence) / 2
        want = np.quantile(resampled(values, 300, seed), [tail, 1 - tail])
        have = cluster_bootstrap(values, confidence, resamples=300, seed=seed)
        assert have == pytest.approx(tuple(want))
    fine = np.random.default_rng(4).random((3, 11))
    whole = np.quantile(resampled(fine, 4000, 0), [0.025, 0.975])
    assert cluster_bootstrap(fine) == pytest.approx(tuple(whole), rel=1e-9)


def test_cluster_bootstrap_has_the_spread_of_crossed_samples() -> None:
    """Var = tr(A M B M') - mean^2, where A and B are second moments of the draws."""
    values = np.random.default_rng(5).random((4, 9))

    def second_moments(size: int) -> np.ndarray:
        return np.eye(size) / size**2 + (1 - 1 / size) / size**2 * np.ones((size, size))

    square = np.trace(second_moments(4) @ values @ second_moments(9) @ values.T)
    sigma = math.sqrt(square - values.mean() ** 2)
    low, high = cluster_bootstrap(values, confidence=0.6827, resamples=40_000)
    assert (high - low) / 2 == pytest.approx(sigma, rel=0.03)
    assert (high + low) / 2 == pytest.approx(values.mean(), abs=0.1 * sigma)


def test_cluster_equivalence_counts_resamples_beyond_the_margin() -> None:
    values = np.random.default_rng(7).choice([-1, 0, 0, 0, 0, 1], (3, 20))
    for margin in (0.05, 0.1, 0.15):
        means = resampled(values, 500, 0)
        beyond = max(np.sum(means >= margin - 1e-12), np.sum(means <= -margin + 1e-12))
        p = cluster_equivalence_p(values, margin, resamples=500)
        assert p == pytest.approx((beyond + 1) / 501, abs=2 / 501)
    assert cluster_equivalence_p(np.zeros((2, 30)), 0.1, resamples=99) == 1 / 100
    assert cluster_equivalence_p(np.zeros((2, 30)), 0.1) == 1 / 4001
    ones = np.ones((2, 30))  # exactly at the margin is beyond it, on either side
    for sign in (1, -1):
        assert cluster_equivalence_p(sign * ones / 4, 0.25, resamples=9) == 1.0
    by_seed = [cluster_equivalence_p(values, 0.1, resamples=500, seed=s) for s in (0, 0, 1)]
    assert by_seed[0] == by_seed[1] != by_seed[2]


@pytest.mark.parametrize("values", [np.zeros((0, 3)), np.zeros((3, 0)), np.zeros((2, 2, 2))])
def test_cluster_statistics_need_a_matrix(values: np.ndarray) -> None:
    for call in (cluster_bootstrap, lambda v: cluster_equivalence_p(v, 0.1)):
        with pytest.raises(ValueError, match="seeds, episodes"):
            call(values)


# ---- evidence at every look ----


@pytest.mark.parametrize("prior", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (1, 0), (3, 1), (2, 9), (6, 6)])
def test_e_value_is_the_integral_of_its_mixture(wins: int, losses: int, prior: float) -> None:
    """Wealth of a bettor on every p, (2 p)^wins (2 (1 - p))^losses, weighted by Beta."""

    def wealth(angle: float) -> float:  # p = sin^2 tames the ends of Beta(1/2, 1/2)
        p = math.sin(angle) ** 2
        weight = p ** (prior - 0.5) * (1 - p) ** (prior - 0.5) * 2 / special.beta(prior, prior)
        return weight * (2 * p) ** wins * (2 * (1 - p)) ** losses

    want = integrate.quad(wealth, 0, math.pi / 2)[0]
    assert e_value(wins, losses, prior) == pytest.approx(want, rel=1e-6)
    signs = [1] * wins + [0] + [-1] * losses
    assert e_process(signs, prior)[-1] == pytest.approx(want, rel=1e-6)
    assert mean_e_value(np.array(signs), prior) == pytest.approx(want, rel=1e-6)


def test_e_process_is_one_number_a_pair_and_never_overflows() -> None:
    path = e_process([0, 1, 0, -1, -1, -1])
    assert path.shape == (6,)
    counts = [(0, 0), (1, 0), (1, 0), (1, 1), (1, 2), (1, 3)]
    assert path == pytest.approx([e_value(*pair) for pair in counts])
    long = e_process([1] * 3000)
    assert np.isfinite(long).all()
    assert long[-1] == pytest.approx(math.exp(700.0))


def test_the_evidence_of_training_seeds_is_averaged() -> None:
    rows = np.array([[1, 1, 1, 1, 0], [1, -1, 0, 0, 0], [-1, -1, -1, 1, 1]])
    want = [e_value(4, 0), e_value(1, 1), e_value(2, 3)]
    assert mean_e_value(rows) == pytest.approx(sum(want) / 3)
    assert mean_e_value(rows[0]) == pytest.approx(e_value(4, 0))
    assert mean_e_value(rows, prior=1.0) == pytest.approx(
        (e_value(4, 0, 1.0) + e_value(1, 1, 1.0) + e_value(2, 3, 1.0)) / 3
    )
