"""How many pretraining seeds would decide what an experiment leaves undecided. Ours."""

import bisect
import math

from underspec.analysis.intervals import Variance

POWER = 0.8
MOST = 10**9


def power(estimate: float, variance: Variance) -> float:
    """The probability that the 95% interval of a new experiment, of this variance, lies on the
    estimate's side of 0, if the estimate is the truth.

    The interval excludes 0 if its centre is more than the t quantile away, in standard errors; with
    the variance known from so many degrees of freedom that ratio has a noncentral t distribution.
    """
    # Slow to import. The function in scipy.special is NaN where the power is nearly 1.
    from scipy.stats import nct

    if not variance.error:
        return float(estimate != 0)
    distance = abs(estimate) / variance.error
    return float(nct.sf(variance.quantile, variance.freedom, distance))


def seeds_needed(estimate: float, variance: Variance, multiple_of: int = 1) -> float:
    """The smallest number of pretraining seeds, above those at hand, with which `power` is POWER.

    multiple_of: the size of pretrain ensembles, where it is about these: seeds that are left over
    are in none. Infinite if no number is enough: for 0, or an estimate that posts alone leave open.
    It assumes that the estimate holds, and that what varies between seeds shrinks as the variance
    of a mean over them: with the same posts, as many finetuning seeds for each, and ensembles of
    the same size.
    """
    if power(estimate, variance.with_seeds(math.inf)) < POWER:
        return math.inf
    next_multiple = (variance.pretraining_seeds // multiple_of + 1) * multiple_of
    numbers = range(next_multiple, MOST, multiple_of)
    first = bisect.bisect_left(
        numbers, POWER, key=lambda n: power(estimate, variance.with_seeds(n))
    )
    return numbers[first] if first < len(numbers) else math.inf
