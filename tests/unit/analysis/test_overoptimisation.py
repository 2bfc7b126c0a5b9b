"""Curves against the KL, and Gao et al.'s form fitted to them."""

import numpy as np
import pandas as pd
import pytest

from underspec.analysis import overoptimisation
from underspec.analysis.statistics import kl_bound


def curve(alpha, beta, noise=0.0):
    ns = overoptimisation.between(64)
    kl = np.array([kl_bound(n) for n in ns])
    gain = kl**0.5 * (alpha - beta * kl**0.5) + noise
    return pd.DataFrame({"ensemble": "single", "by": "gold", "n": ns, "kl_bound": kl, "gain": gain})


def test_the_fit_finds_the_curve_it_was_made_of():
    (row,) = overoptimisation.fit(curve(1.2, 0.4)).itertuples()
    assert (row.alpha, row.beta) == pytest.approx((1.2, 0.4))
    assert row.peak_kl == pytest.approx(1.5**2)
    assert row.residual == pytest.approx(0, abs=1e-12)
    peak = curve(1.2, 0.4)
    assert peak.gain.max() <= (1.2 * 1.5 - 0.4 * 1.5**2)


def test_a_curve_that_does_not_turn_has_no_peak():
    (row,) = overoptimisation.fit(curve(1.0, -0.1)).itertuples()
    assert row.beta == pytest.approx(-0.1) and np.isnan(row.peak_kl)


def test_only_gold_is_fitted():
    table = pd.concat([curve(1, 0.1), curve(2, 0.1).assign(by="proxy")])
    assert len(overoptimisation.fit(table)) == 1
    assert overoptimisation.fit(table[table.by == "proxy"]).empty


@pytest.mark.parametrize(
    ("largest", "expected"),
    [(1, [1]), (2, [1, 2]), (8, [1, 2, 3, 4, 6, 8]), (10, [1, 2, 3, 4, 6, 8, 10])],
)
def test_ns_between(largest, expected):
    assert overoptimisation.between(largest) == expected
