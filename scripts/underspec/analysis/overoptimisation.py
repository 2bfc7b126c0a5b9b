"""How reward grows with the distance from the policy: by the ranker itself, evaluator and gold.

All in standard deviations of the policy's samples within a post, above their mean, over all orders
of the samples (see `exact_best_of_n`).
"""

import numpy as np
import pandas as pd

from underspec.analysis.exact_best_of_n import chances, expected
from underspec.analysis.intervals import mean_and_error
from underspec.analysis.results import ScaleResults
from underspec.analysis.statistics import in_policy_units, kl_bound

AGGREGATOR = "mean"
FITTED = "gold"


def curves(results: ScaleResults, metrics: dict[str, np.ndarray]) -> pd.DataFrame:
    """Columns ensemble, by (proxy: the ranker's own reward; or a metric), n, kl_bound, gain and
    standard_error over posts; ensembles are aggregated by their mean."""
    ns = between(results.ns[-1])
    tables = []
    for (ensemble, aggregator), rankers in results.kinds.items():
        if aggregator not in ("single", AGGREGATOR):
            continue
        gains = []
        for ranker in rankers:
            proxy = results.rewards_of(ranker)
            values = in_policy_units(np.stack([proxy, *metrics.values()]))
            gains.append(expected(chances(proxy, ns), values))
        mean, error = mean_and_error(np.mean(gains, axis=0))
        for by, *row in zip(["proxy", *metrics], mean, error, strict=True):
            columns = dict(zip(("gain", "standard_error"), row, strict=True))
            tables.append(pd.DataFrame({"ensemble": ensemble, "by": by, "n": ns, **columns}))
    table = pd.concat(tables, ignore_index=True)
    table.insert(3, "kl_bound", table["n"].map(kl_bound))
    return table


def between(largest: int) -> list[int]:
    """1 to `largest`, two to each doubling."""
    steps = np.arange(2 * np.log2(largest) + 1) / 2
    ns = np.round(2**steps).astype(int)
    return sorted({*ns[ns < largest].tolist(), largest})


def fit(curves: pd.DataFrame) -> pd.DataFrame:
    """Gao et al.'s form for best-of-n, R(d) = d (alpha - beta d) with d the root of the KL, by
    least squares over the gold curve of each kind of ranker.

    Columns ensemble, alpha, beta, peak_kl (nats; where the fitted curve would turn, NaN if it does
    not) and residual (root mean square). The KL is its upper bound.
    """
    rows = []
    for ensemble, curve in curves[curves["by"] == FITTED].groupby("ensemble", sort=False):
        distance = np.sqrt(curve["kl_bound"].to_numpy())
        terms = np.stack([distance, -(distance**2)], axis=1)
        (alpha, beta), *_ = np.linalg.lstsq(terms, curve["gain"].to_numpy(), rcond=None)
        residual = curve["gain"].to_numpy() - terms @ (alpha, beta)
        peak = (alpha / (2 * beta)) ** 2 if alpha > 0 and beta > 0 else np.nan
        rows.append(
            {"ensemble": ensemble, "alpha": alpha, "beta": beta, "peak_kl": peak}
            | {"residual": float(np.sqrt(np.mean(residual**2)))}
        )
    return pd.DataFrame(rows, columns=["ensemble", "alpha", "beta", "peak_kl", "residual"])
