"""Statistics against published worked examples, and the laws they must hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from neon_sim.benchmarks.analysis.statistics import (
    PairedTable,
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
    wilson,
)

# Paired 2x2 tables of Fagerland, Lydersen and Laake, "Recommended tests and confidence
# intervals for paired binomial proportions", Statistics in Medicine 33 (2014).
BENTUR = PairedTable(1, 1, 7, 12)  # airway hyper-responsiveness
CAVO = PairedTable(59, 6, 16, 80)  # complete response

counts = st.integers(0, 60)
tables = st.builds(PairedTable, counts, counts, counts, counts).filter(lambda t: t.n > 0)


def test_wilson_and_clopper_pearson_of_40_in_50() -> None:
    assert wilson(40, 50) == pytest.approx((0.670, 0.888), abs=5e-4)
    assert clopper_pearson(40, 50) == pytest.approx((0.663, 0.900), abs=5e-4)


def test_wilson_of_newcombes_single_proportion_examples() -> None:
    # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert clopper_pearson(81, 263) == pytest.approx((0.2527, 0.3676), abs=5e-5)
    assert clopper_pearson(1, 29) == pytest.approx((0.0009, 0.1776), abs=5e-5)


@pytest.mark.parametrize(("successes", "n"), [(-1, 5), (6, 5), (0, 0)])
def test_impossible_counts_are_errors(successes: int, n: int) -> None:
    for interval in (wilson, clopper_pearson):
        with pytest.raises(ValueError, match="successes"):
            interval(successes, n)


@given(st.integers(1, 400), st.data())
@settings(max_examples=40, deadline=None)
def test_intervals_contain_the_estimate_and_the_exact_one_is_symmetric(n, data) -> None:
    k = data.draw(st.integers(0, n))
    for interval in (wilson, clopper_pearson):
        low, high = interval(k, n)
        assert 0.0 <= low <= k / n + 1e-12
        assert k / n - 1e-12 <= high <= 1.0
        mirrored = interval(n - k, n)
        assert (1 - mirrored[1], 1 - mirrored[0]) == pytest.approx((low, high), abs=1e-9)


def test_mcnemar_exact_textbook_values() -> None:
    assert mcnemar_exact(6, 16) == pytest.approx(0.052479, abs=5e-7)  # CAVO
    assert mcnemar_exact(1, 7) == pytest.approx(18 / 256)  # BENTUR, 0.0703
    # Agresti, Categorical Data Analysis: approval of the prime minister, 86 against 150.
    assert mcnemar_exact(86, 150) == pytest.approx(3.716e-05, rel=1e-3)
    assert mcnemar_exact(0, 0) == 1.0


def test_newcombe_published_intervals() -> None:
    assert newcombe_paired(BENTUR) == pytest.approx((-0.507, -0.026), abs=5e-4)
    assert newcombe_paired(CAVO) == pytest.approx((-0.1186, -0.0046), abs=5e-5)


def test_tango_published_intervals() -> None:
    assert tango_interval(BENTUR) == pytest.approx((-0.517, -0.026), abs=5e-4)
    assert tango_interval(CAVO) == pytest.approx((-0.1240, -0.0054), abs=5e-5)


def test_tango_at_zero_is_mcnemars_z() -> None:
    assert tango_z(CAVO, 0.0) == pytest.approx(-2.132, abs=5e-4)


@given(tables)
@settings(deadline=None)
def test_paired_intervals_contain_the_difference_and_mirror(table: PairedTable) -> None:
    mirrored = PairedTable(table.both, table.only_b, table.only_a, table.neither)
    for interval in (newcombe_paired, tango_interval):
        low, high = interval(table)
        assert -1 - 1e-9 <= low <= table.difference + 1e-9
        assert table.difference - 1e-9 <= high <= 1 + 1e-9
        other = interval(mirrored)
        assert (-other[1], -other[0]) == pytest.approx((low, high), abs=1e-6)


@given(tables, st.floats(0.02, 0.3))
@settings(deadline=None)
def test_equivalence_agrees_with_the_90_percent_interval(table, margin) -> None:
    low, high = tango_interval(table, confidence=0.90)
    assume(min(abs(low + margin), abs(high - margin)) > 1e-6)
    assert (equivalence_p(table, margin) <= 0.05) == (-margin < low and high < margin)


def test_equivalence_needs_evidence_not_absence_of_it() -> None:
    assert equivalence_p(PairedTable(4, 1, 0, 5), 0.05) > 0.05
    assert equivalence_p(PairedTable(190, 2, 3, 5), 0.05) < 0.01
    assert equivalence_p(PairedTable(100, 40, 2, 58), 0.05) > 0.99
    with pytest.raises(ValueError, match="margin"):
        equivalence_p(CAVO, 0.0)


def test_holm_textbook_example() -> None:
    # Holm's procedure on 0.01, 0.04, 0.03, 0.005: 4p, 2p -> max, 3p -> ..., in order of size.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(max_examples=25, deadline=None)
def test_holm_never_lowers_a_p_and_keeps_order(p_values) -> None:
    adjusted = holm(p_values)
    assert all(a >= p - 1e-12 for a, p in zip(adjusted, p_values, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert all(np.diff(np.array(adjusted)[order]) >= -1e-12)
    assert max(adjusted) <= 1.0


@given(counts, counts)
@settings(max_examples=40, deadline=None)
def test_sign_flip_of_single_pairs_is_mcnemar(b: int, c: int) -> None:
    assert sign_flip([1] * b + [-1] * c + [0] * 3) == pytest.approx(mcnemar_exact(b, c), abs=1e-9)


def test_sign_flip_counts_whole_episodes() -> None:
    # Three seeds that agree on five episodes are five units of evidence, not fifteen.
    assert sign_flip([3] * 5) == pytest.approx(2 / 2**5)
    assert sign_flip([3, -1]) == pytest.approx(1.0)
    assert sign_flip([0, 0]) == 1.0


def test_cluster_bootstrap_covers_both_sources() -> None:
    rng = np.random.default_rng(0)
    episodes = rng.random((1, 200)) < 0.5
    alike = np.repeat(episodes, 3, axis=0)
    low, high = cluster_bootstrap(alike)
    exact = wilson(int(episodes.sum()), 200)
    assert high - low == pytest.approx(exact[1] - exact[0], abs=0.02)
    swing = np.concatenate([np.zeros((1, 200)), np.ones((1, 200)), episodes])
    wide = cluster_bootstrap(swing)
    assert wide[1] - wide[0] > 0.6
    assert cluster_bootstrap(swing) == wide
    with pytest.raises(ValueError, match="seeds, episodes"):
        cluster_bootstrap(np.zeros(4))


def test_cluster_equivalence_sees_swings_between_training_seeds() -> None:
    same = np.tile([1] + [0] * 98 + [-1], (3, 1))
    assert cluster_equivalence_p(same, 0.05) < 0.01
    swings = np.concatenate([np.full((1, 100), 1), np.full((1, 100), -1), same])  # mean is 0
    assert cluster_equivalence_p(swings, 0.05) > 0.1
    with pytest.raises(ValueError, match="margin"):
        cluster_equivalence_p(same, 1.5)


def test_what_so_many_episodes_could_have_shown() -> None:
    assert smallest_shown(5) is None  # 2 / 2**5 > 0.05
    assert smallest_shown(6) == 1.0
    assert smallest_shown(100) == 0.06
    assert smallest_shown(100, [1.0] * 9) == 0.09  # 2 / 2**9 * 10 <= 0.05
    assert episodes_for_equivalence(0.10) == 25
    others = [1e-6, 1e-4, 0.006, 0.01, 0.5]
    need = next(c for c in range(5, 12) if holm([mcnemar_exact(0, c), *others])[0] <= 0.05)
    assert smallest_shown(need - 1, others) is None
    assert smallest_shown(100, others) == need / 100


def test_cluster_bootstrap_coverage_with_many_seeds() -> None:
    rng = np.random.default_rng(1)
    hits = 0
    for trial in range(120):
        seeds, episodes = rng.normal(0, 0.1, (12, 1)), rng.normal(0, 0.3, (1, 60))
        values = 0.2 + seeds + episodes + rng.normal(0, 0.2, (12, 60))
        low, high = cluster_bootstrap(values, resamples=800, seed=trial)
        hits += low <= 0.2 <= high
    assert hits / 120 > 0.86


def test_e_value_by_hand() -> None:
    assert e_value(0, 0) == pytest.approx(1.0)
    assert e_value(1, 0) == pytest.approx(1.0)  # the first bet is symmetric
    # uniform mixture: integral of p^n dp * 2^n = 2^n / (n + 1)
    assert e_value(10, 0, prior=1.0) == pytest.approx(2**10 / 11)
    assert e_value(5, 5, prior=1.0) == pytest.approx(2**10 / (11 * math.comb(10, 5)))
    assert e_value(5000, 0) == pytest.approx(math.exp(700))  # no overflow


@given(counts, counts)
@settings(max_examples=40, deadline=None)
def test_e_values_are_a_martingale_under_the_null(a: int, b: int) -> None:
    assert (e_value(a + 1, b) + e_value(a, b + 1)) / 2 == pytest.approx(e_value(a, b), rel=1e-9)


@given(st.lists(st.sampled_from([-1, 0, 1]), min_size=1, max_size=60))
@settings(deadline=None)
def test_e_process_is_the_e_value_after_each_pair(signs) -> None:
    path = e_process(signs)
    assert path[-1] == pytest.approx(e_value(signs.count(1), signs.count(-1)), rel=1e-9)
    assert mean_e_value(np.array([signs, [-s for s in signs]])) == pytest.approx(path[-1], rel=1e-9)


def test_e_process_type_one_error_under_looking_at_every_pair() -> None:
    rng = np.random.default_rng(7)
    alpha, runs = 0.05, 1500
    false_alarms = sum(e_process(rng.choice([-1, 1], 400)).max() >= 1 / alpha for _ in range(runs))
    assert false_alarms / runs < alpha  # p-hacking the fixed-n test would give 0.3 and more
    found = sum(
        e_process(rng.choice([-1, 1], 400, p=[0.2, 0.8])).max() >= 1 / alpha for _ in range(200)
    )
    assert found / 200 > 0.98
