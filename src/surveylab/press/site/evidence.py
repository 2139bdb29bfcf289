"""What the book's pages are made of: the review, the claims, and the published evidence on each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from surveylab.claims import (
    Claim,
    Evidence,
    RecordError,
    ReplicationError,
    badge,
    edition_of,
    evidence_of,
    provenance_of,
    read_notebook,
    read_replications,
    recompute,
    refresh,
    statement_verdict,
    with_replications,
)
from surveylab.claims.replications import Repeats, Replicated, Replication, counting, design_of, repeats
from surveylab.press.project import Notebook, PressError, Project
from surveylab.press.review_text import Section, Sentence, chapters_of
from surveylab.press.run.terms import silent_changes
from surveylab.press.run.withdrawn import Withdrawn, withdrawn
from surveylab.press.site.rendering import card_link

UNEXAMINED = "missing"
"""What `combine` calls a statement without evidence."""


def shown(claim: Claim, evidence: Evidence, repeated: Repeats | None = None) -> Evidence:
    """The evidence as pages show it.

    What seldom repeats decides nothing, and *contradicted* by a scaled-down setting alone is *not seen here*.
    """
    if repeated is not None:
        evidence = with_replications(evidence, repeated=repeated.repeated, runs=repeated.runs)
    return replace(evidence, verdict=badge(claim, evidence.verdict))


@dataclass(frozen=True)
class Findings:
    """What the pages are made of.

    Attributes:
        review: The review.
        claims: The claims.
        evidence: The evidence on each claim that has any, as pages show it.
        executed: When each chapter was executed.
        published: The same evidence as it was published.
        runs: The recorded replications.
        withdrawn: Claims that were published and are no more.
        designs: A hash of each chapter's code and learning rates; see `design_of`.
    """

    review: tuple[Section, ...]
    claims: Mapping[str, Claim]
    evidence: Mapping[str, Evidence]
    executed: Mapping[str, str] = field(default_factory=dict)
    published: Mapping[str, Evidence] = field(default_factory=dict)
    runs: tuple[Replication, ...] = ()
    withdrawn: tuple[Withdrawn, ...] = ()
    designs: Mapping[str, str] = field(default_factory=dict)

    def shown(self, evidence: Evidence) -> Evidence:
        """Published evidence as pages show it."""
        claim = self.claims.get(evidence.claim)
        return evidence if claim is None else shown(claim, evidence, self.repeats(evidence))

    def repeats(self, evidence: Evidence | None) -> Repeats | None:
        """How often a published verdict came out again on other seeds; None where it was not tried."""
        claim = None if evidence is None else self.claims.get(evidence.claim)
        if evidence is None or claim is None or not self.runs:
            return None
        found = repeats(self.runs, claim, evidence, edition=self._edition(claim), design=self._design(claim))
        return found if found.runs else None

    def replications(self, id: str) -> list[tuple[Replication, Replicated]]:
        """The results on other seeds that count for a claim."""
        claim, evidence = self.claims[id], self.published.get(id)
        if evidence is None or not self.runs:
            return []
        return counting(self.runs, claim, evidence, edition=self._edition(claim), design=self._design(claim))

    def _edition(self, claim: Claim) -> int:
        return edition_of(self.claims.values(), claim.chapter)

    def _design(self, claim: Claim) -> str:
        return self.designs.get(claim.chapter, "")

    def covering(self, statement: str) -> list[Claim]:
        """The claims that decide a statement of the review."""
        return [claim for claim in self.claims.values() if statement in claim.covers]

    def beyond(self, chapter: str) -> list[Claim]:
        """The claims of a chapter that no sentence of the review makes."""
        return [c for c in self.claims.values() if c.chapter == chapter and not c.covers]

    def verdict(self, statement: str) -> str:
        """The verdict on a statement: that of its claims together."""
        covering = [c for c in self.covering(statement) if c.id in self.evidence]
        return statement_verdict(statement, [(c, self.evidence[c.id].verdict) for c in covering])

    def decided(self, sentence: Sentence) -> list[tuple[Claim, Evidence]]:
        """The claims on a sentence that have evidence, with it."""
        claims = self.covering(sentence.id) if sentence.id else []
        return [(claim, self.evidence[claim.id]) for claim in claims if claim.id in self.evidence]

    def better(self, sentence: Sentence) -> list[str]:
        """What should stand in place of a sentence, as far as the evidence decides it."""
        return [
            claim.corrects
            for claim, evidence in self.decided(sentence)
            if claim.corrects and evidence.verdict not in ("inconclusive", "not-decided")
        ]

    def leads_to(self, sentence: Sentence) -> str:
        """Where the evidence on a sentence is, seen from the top of the book; empty without evidence."""
        claims = self.decided(sentence)
        if not claims:
            return ""
        return card_link(claims[0][0]) if len(claims) == 1 else f"ledger.html#statement-{sentence.id}"

    def examined_of(self, section: Section) -> list[Sentence]:
        """The statements of a section that have a verdict."""
        sentences = [sentence for chapter in section.chapters for sentence in chapter.text]
        return [s for s in sentences if s.id and self.verdict(s.id) != UNEXAMINED]

    @property
    def statements(self) -> list[str]:
        """The ids of all checkable statements, in the review's order."""
        return [id for chapter in chapters_of(self.review) for id in chapter.statements]

    @property
    def counts(self) -> Counter[str]:
        """How many statements have which verdict."""
        return Counter(map(self.verdict, self.statements))

    @property
    def examined(self) -> list[str]:
        """The ids of the statements that have a verdict."""
        return [id for id in self.statements if self.verdict(id) != UNEXAMINED]


def load_findings(root: Path, published: Iterable[str]) -> tuple[Findings, dict[str, Notebook]]:
    """Read claims, review and evidence.

    Args:
        published: The published notebooks, seen from `book/`.

    Returns:
        The findings, and the notebooks with the present wording on their cards.

    Raises:
        PressError: a file has a mistake, or a notebook does not follow from its values and claims.
    """
    project, book = Project(root), root / "book"
    review = project.review
    place = {chapter.name: number for number, chapter in enumerate(chapters_of(review))}
    in_order = sorted(project.claims.values(), key=lambda claim: place.get(claim.chapter, len(place)))
    claims = {claim.id: claim for claim in in_order}
    notebooks: dict[str, Notebook] = {}
    found: dict[str, Evidence] = {}
    faults: list[str] = []
    silent: list[str] = []
    for name in published:
        try:
            notebook = read_notebook(book / name)
            chapter = name.removesuffix(".ipynb").removeprefix("full/")
            changes = silent_changes(project, chapter, notebook, book / name, whole_history=True)
            silent += [f"book/{name}: {change}" for change in changes]
            refresh(claims, notebook)
            faults += [f"book/{name}: {fault}" for fault in recompute(claims, notebook, chapter=chapter)]
            # The standard edition is the headline, unless a claim said beforehand that it needs the full one.
            wanted = "full" if name.startswith("full/") else None
            found |= {
                id: e
                for id, e in evidence_of(notebook).items()
                if id in claims and claims[id].profile == wanted
            }
        except RecordError as error:
            raise PressError(str(error)) from error
        notebooks[name] = notebook
    if silent:
        raise PressError("what a published claim asks changed silently:\n  " + "\n  ".join(silent))
    if faults:
        raise PressError(
            "a published chapter does not follow from its values and claims (`surveylab run` publishes it "
            "anew):\n  " + "\n  ".join(faults)
        )
    standard = {
        name.removesuffix(".ipynb"): provenance_of(notebook)
        for name, notebook in notebooks.items()
        if not name.startswith("full/")
    }
    executed = {chapter: str(stored.get("executed", "")) for chapter, stored in standard.items()}
    designs = {chapter: design_of(stored) for chapter, stored in standard.items()}
    try:
        runs = read_replications(book / "replications")
    except ReplicationError as error:
        raise PressError(f"book/{error}") from error
    bare = Findings(review, claims, {}, executed, found, runs, withdrawn(project), designs)
    return replace(bare, evidence={id: bare.shown(e) for id, e in found.items()}), notebooks
