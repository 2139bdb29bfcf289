"""From verdicts on claims to a verdict on a statement of the review, and what is told beside a verdict."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from surveylab.claims.evidence import Evidence
from surveylab.claims.reasons import REPEATS_NOT
from surveylab.claims.registry import Claim

#: What *contradicted* is called where only a scaled-down setting speaks.
NOT_SEEN = "not-seen"
#: From this number of replications on a claim must have repeated in at least half of them.
ENOUGH_REPLICATIONS = 4

_AGAINST = {"supported": {"contradicted", NOT_SEEN}, "contradicted": {"supported"}, NOT_SEEN: {"supported"}}


def badge(claim: Claim, verdict: str) -> str:
    """What a verdict is called on the page: *not seen here* for *contradicted* in a scaled-down setting.

    *Contradicted* is for statements whose own setting was tested (``setting: own``). The evidence keeps the
    verdict itself, since the setting is wording and executes nothing.
    """
    return NOT_SEEN if verdict == "contradicted" and claim.setting == "scaled" else verdict


def statement_verdict(statement: str, parts: Iterable[tuple[Claim, str]]) -> str:
    """The verdict on a statement, from those on the claims that cover it.

    The verdict on its primary claim, unless a part contradicts it: then *mixed*. To contradict is to be
    supported where the primary claim is contradicted or not seen, or the other way round; other parts only
    qualify it. Without a primary claim all parts count alike; see `combine`.

    Args:
        statement: The statement's id.
        parts: Claims with their verdicts; those that do not cover the statement are passed over.
    """
    covering = [(claim, badge(claim, verdict)) for claim, verdict in parts if statement in claim.covers]
    primary = next((verdict for claim, verdict in covering if claim.primary), None)
    if primary is None:
        return combine(verdict for _, verdict in covering)
    verdicts = {verdict for _, verdict in covering}
    if primary == "cited":
        return "mixed" if verdicts & {"contradicted", NOT_SEEN} else primary
    return "mixed" if verdicts & _AGAINST.get(primary, set()) else primary


def combine(verdicts: Iterable[str]) -> str:
    """The verdict on a statement that was split into several claims.

    What is merely cited gives way to what was run; decided parts that disagree make it *mixed*; if those
    agree and others are open, it is *inconclusive*; no parts at all, *missing*.
    """
    given = set(verdicts)
    judged = given - {"cited"} or given
    if not judged:
        return "missing"
    if "contradicted" in judged:
        judged.discard(NOT_SEEN)  # it says the same of a scaled-down setting
    if len(judged - {"inconclusive"}) > 1:
        return "mixed"
    return "inconclusive" if "inconclusive" in judged else judged.pop()


def standing(claim: Claim) -> str:
    """*registered* if the claim is what it was before its first result, else *revised*.

    Its ``history`` tells: each change made after a result was known is an entry, with the earlier result.
    """
    return "revised" if claim.history else "registered"


def with_replications(evidence: Evidence, *, repeated: int, runs: int) -> Evidence:
    """The evidence in the light of its replications: what seldom repeats decides nothing.

    Args:
        evidence: The published evidence.
        repeated: In how many independent runs, on other seeds, the verdict came out the same.
        runs: How many there were.

    Returns:
        The same evidence; if it repeated in fewer than half of at least four runs, it is inconclusive, with
        the reason "does not repeat".

    Raises:
        ValueError: If more runs repeated than there were.
    """
    if not 0 <= repeated <= runs:
        raise ValueError(f"repeated must lie between 0 and runs; got {repeated} of {runs}")
    decided = evidence.verdict in ("supported", "contradicted", "negligible")
    if not decided or runs < ENOUGH_REPLICATIONS or 2 * repeated >= runs:
        return evidence
    return dataclasses.replace(evidence, verdict="inconclusive", reason=REPEATS_NOT, firmness=None)
