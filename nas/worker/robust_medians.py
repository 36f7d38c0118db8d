"""Confidence interval (95 %) of a median from few samples with outliers."""

import math
from typing import Dict, List, Sequence

FEWEST_SAMPLES = 4
"""With fewer samples their spread says nothing."""
QN_OF_NORMAL = 2.2219
QN_FEW = {2: 0.399, 3: 0.994, 4: 0.512, 5: 0.844, 6: 0.611, 7: 0.857, 8: 0.669, 9: 0.872}


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
    n = len(samples)
    if n < FEWEST_SAMPLES:
        return math.inf
    factor = student_quantile(n - 1) * math.sqrt(math.pi / 2)
    return factor * qn_scale(samples) / math.sqrt(n) / median_of_sorted(sorted(samples))


def qn_scale(samples: Sequence[float]) -> float:
    """Qn of Rousseeuw and Croux (1993): standard deviation of normal values of which up to half are outliers.

    It is 2.2219 times the k-th smallest distance between two of the n values, k = C(h, 2) with h = n // 2 + 1, and a
    correction for small n.

    Args:
        samples: n >= 2 values.
    """
    n = len(samples)
    h = n // 2 + 1
    distances = sorted(abs(one - other) for i, one in enumerate(samples) for other in samples[:i])
    correction = QN_FEW.get(n) or (n / (n + 1.4) if n % 2 else n / (n + 3.8))
    return QN_OF_NORMAL * correction * distances[h * (h - 1) // 2 - 1]


def student_quantile(degrees: int) -> float:
    """The value that Student's distribution stays below in 97.5 of 100 cases.

    Args:
        degrees: Degrees of freedom, at least 1.

    >>> round(student_quantile(4), 6)
    2.776445
    """
    if degrees not in _QUANTILES:
        low, high = 0.0, 13.0  # 12.71 for one degree, the largest
        while high - low > 1e-12 * high:
            middle = (low + high) / 2
            low, high = (middle, high) if _inside(middle, degrees) < 0.95 else (low, middle)
        _QUANTILES[degrees] = (low + high) / 2
    return _QUANTILES[degrees]


def median_of_sorted(values: Sequence[float]) -> float:
    """The middle value, or the mean of the two in the middle, of values in order."""
    half = len(values) // 2
    return values[half] if len(values) % 2 else (values[half - 1] + values[half]) / 2


_QUANTILES: Dict[int, float] = {}


def _inside(t: float, degrees: int) -> float:
    """Probability that Student's t lies between -t and t (Abramowitz and Stegun 26.7.3 and 26.7.4)."""
    theta = math.atan2(t, math.sqrt(degrees))
    sine, square = math.sin(theta), math.cos(theta) ** 2
    odd = degrees % 2
    term = math.cos(theta) if odd else 1.0
    terms: List[float] = [term]
    for j in range(2 + odd, degrees - 1, 2):
        term *= square * (j - 1) / j
        terms.append(term)
    series = sine * sum(terms)
    if not odd:
        return series
    return 2 / math.pi * (theta + (series if degrees > 1 else 0.0))
