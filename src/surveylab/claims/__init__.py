"""Claims, evidence and verdicts: what the lab and the press share, and nothing else.

The lab judges a run's values and displays the evidence; the press reads it back from the published notebook
and recomputes it. Neither needs the other.
"""

from surveylab.claims.badges import BADGES, Badge
from surveylab.claims.record import (
    RecordError,
    chapters,
    evidence_of,
    find_root,
    provenance_of,
    published_path,
    read_notebook,
    recompute,
    refresh,
    run_of,
    same_machine,
    source_path,
)
from surveylab.claims.registry import Change, Claim, ClaimError, load_claims
from surveylab.claims.render import render_markdown, render_text
from surveylab.claims.verdict import LEVEL, VERDICTS, Evidence, EvidenceError, agreement, combine, judge

__all__ = [
    "BADGES",
    "LEVEL",
    "VERDICTS",
    "Badge",
    "Change",
    "Claim",
    "ClaimError",
    "Evidence",
    "EvidenceError",
    "RecordError",
    "agreement",
    "chapters",
    "combine",
    "evidence_of",
    "find_root",
    "judge",
    "load_claims",
    "provenance_of",
    "published_path",
    "read_notebook",
    "recompute",
    "refresh",
    "render_markdown",
    "render_text",
    "run_of",
    "same_machine",
    "source_path",
]
