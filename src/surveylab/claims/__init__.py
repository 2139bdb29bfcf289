"""Claims, evidence and verdicts: what the lab and the press share, and nothing else.

The lab judges a run's values and displays the evidence; the press reads it back from the published notebook
and recomputes it. Neither needs the other.
"""

from surveylab.claims.arms import Arm, Baseline
from surveylab.claims.badges import BADGES, Badge
from surveylab.claims.evidence import RULES, Cell, Evidence, EvidenceError
from surveylab.claims.firmness import FIRM
from surveylab.claims.intervals import LEVEL
from surveylab.claims.reasons import REASONS, because
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
from surveylab.claims.registry import (
    Change,
    Claim,
    ClaimError,
    Pilot,
    Published,
    claims_files,
    edition_of,
    load_claims,
)
from surveylab.claims.render import render_markdown, render_summary, render_text
from surveylab.claims.replications import (
    Replication,
    ReplicationError,
    read_replications,
)
from surveylab.claims.reproduction import (
    agreement,
    arithmetic,
    changed_reason,
    changed_verdict,
    foreign,
    moved_far,
    outliers,
    same_values,
)
from surveylab.claims.seeds import FIRST_DESIGN_SEED, publication_seed
from surveylab.claims.statements import (
    NOT_SEEN,
    badge,
    combine,
    standing,
    statement_verdict,
    with_replications,
)
from surveylab.claims.verdict import VERDICTS, judge

__all__ = [
    "BADGES",
    "FIRM",
    "FIRST_DESIGN_SEED",
    "LEVEL",
    "NOT_SEEN",
    "REASONS",
    "RULES",
    "VERDICTS",
    "Arm",
    "Badge",
    "Baseline",
    "Cell",
    "Change",
    "Claim",
    "ClaimError",
    "Evidence",
    "EvidenceError",
    "Pilot",
    "Published",
    "RecordError",
    "Replication",
    "ReplicationError",
    "agreement",
    "arithmetic",
    "badge",
    "because",
    "changed_reason",
    "changed_verdict",
    "chapters",
    "claims_files",
    "combine",
    "edition_of",
    "evidence_of",
    "find_root",
    "foreign",
    "judge",
    "load_claims",
    "moved_far",
    "outliers",
    "provenance_of",
    "publication_seed",
    "published_path",
    "read_notebook",
    "read_replications",
    "recompute",
    "refresh",
    "render_markdown",
    "render_summary",
    "render_text",
    "run_of",
    "same_machine",
    "same_values",
    "source_path",
    "standing",
    "statement_verdict",
    "with_replications",
]
