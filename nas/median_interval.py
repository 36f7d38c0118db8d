"""How well a median is known: its 95 % confidence interval from few samples with outliers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

FEWEST_SAMPLES = 4
"""With fewer samples their spread says nothing."""
_QN_OF_NORMAL = 2.2219
_QN_FEW = {2: 0.399, 3: 0.994, 4: 0.512, 5: 0.844, 6: 0.611, 7: 0.857, 8: 0.669, 9: 0.872}


def relative_half_width(samples: Sequence[float]) -> float:
    """Half-width of the 95 % confidence interval of the median, as a share of the median.

    The median of n normal values with standard deviation s has the standard error sqrt(pi / 2) s / sqrt(n). For s stands the
    robust estimate `qn_scale`; and for the factor of the normal distribution, 1.96, that of Student's distribution with n - 1
    degrees of freedom, since s is estimated, too. A measurement that looks after every round and stops when it is content
    stops too early now and then. That is why s is not the interquartile range, which is less certain: of operations with a
    noise of 5 %, which need 38 rounds for 2 %, half would stop within 30 with that one, and a quarter with this one.

    Args:
        samples: n positive values.

    Returns:
        The half-width; infinite below `FEWEST_SAMPLES` values.
    """
    from scipy.special import stdtrit

    n = len(samples)
    if n < FEWEST_SAMPLES:
        return math.inf
    factor = float(stdtrit(n - 1, 0.975)) * math.sqrt(math.pi / 2)
    return factor * qn_scale(samples) / math.sqrt(n) / float(np.median(samples))


def qn_scale(samples: Sequence[float]) -> float:
    """Qn of Rousseeuw and Croux (1993): standard deviation of normal values of which up to half are outliers.

    It is 2.2219 times the k-th smallest distance between two of the n values, k = C(h, 2) with h = n // 2 + 1, and a
    correction for small n.

    Args:
        samples: n >= 2 values.
    """
    values = np.asarray(samples, dtype=np.float64)
    n = len(values)
    h = n // 2 + 1
    k = h * (h - 1) // 2
    distances = np.abs(values[:, None] - values[None, :])[np.triu_indices(n, 1)]
    correction = _QN_FEW.get(n) or (n / (n + 1.4) if n % 2 else n / (n + 3.8))
    return float(_QN_OF_NORMAL * correction * np.partition(distances, k - 1)[k - 1])
