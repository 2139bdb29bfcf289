"""Firmness: would an independent run of the same size give the same verdict?

A run gave the estimate e with standard error s. Nothing else being known, the true effect is N(e, s²), and a
second run adds an error of its own: its estimate is

    e′ ~ N(e, 2 s²),   its interval [e′ − (e − low), e′ + (high − e)].

Each verdict is a range of e′, so that its probability is a difference of two values of the normal
distribution function Φ. With the margin m, a = e − low and b = high − e:

    supported      e′ > m + a
    contradicted   e′ < −m − b
    negligible     −m + a < e′ < m − b
    inconclusive   what is left

A claim of equivalence is supported in the third range and contradicted in the first two.
"""

from __future__ import annotations

import math

from surveylab.claims.intervals import Interval

#: From this probability on a verdict is firm.
FIRM = 0.9


def normal_cdf(x: float) -> float:
    """Φ(x), the distribution function of the standard normal distribution."""
    return 0.5 * math.erfc(-x / math.sqrt(2))


def verdict_probabilities(
    interval: Interval, *, margin: float, direction: str = "greater"
) -> dict[str, float]:
    """How probable each verdict is in an independent run of the same size.

    The guard of the population means is left out: it would turn a few supported and contradicted runs near
    the margin into inconclusive ones.

    Args:
        interval: What the run gave. Without any error the run repeats exactly.
        margin: The margin m > 0, in the unit of the values.
        direction: greater or equivalent.

    Returns:
        The probabilities of supported, contradicted, negligible (not for an equivalence) and inconclusive.
    """
    e, low, high, error = interval
    spread = math.sqrt(2) * error

    def below(x: float) -> float:
        if spread == 0:
            return float(e < x)
        return normal_cdf((x - e) / spread)

    above = 1 - below(margin + (e - low)) if spread else float(e > margin + (e - low))
    under = below(-margin - (high - e))
    first, last = -margin + (e - low), margin - (high - e)
    within = max(0.0, below(last) - below(first)) if spread else float(first < e < last)
    rest = max(0.0, 1 - above - under - within)
    if direction == "equivalent":
        return {"supported": within, "contradicted": above + under, "inconclusive": rest}
    return {"supported": above, "contradicted": under, "negligible": within, "inconclusive": rest}


def firmness(verdict: str, interval: Interval, *, margin: float, direction: str = "greater") -> float:
    """The probability that an independent run of the same size gives this verdict again."""
    return verdict_probabilities(interval, margin=margin, direction=direction)[verdict]
