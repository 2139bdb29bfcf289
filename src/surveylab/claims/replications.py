"""The record of replications: what came of the book's claims on other seeds, and what of it counts.

Each file of ``book/replications/`` is one run of ``surveylab replicate``. It holds what the run gave beside
what was published then, so that it can be read without either notebook.

A result counts for a claim if it answers the same question as the published one, on other random numbers:

- the chapter had the edition that it has now, and the claim asked for the same effect, margin and the rest of
  `Claim.judged`;
- the chapter had the code, the modules of the library and the kept learning rates with which it is published
  now: an effect in other words of the code is another effect;
- the published verdict was the one that is published now;
- its seed is not the published one, and no earlier run had it: one seed counts once, by its first run,
  whether rates were found anew or not.

It *repeats* if the verdict is the same word. Of two inconclusive results the reasons may differ, since
firmness, too, is the probability of *inconclusive* for whatever reason. Identities count like experiments:
the seed draws other inputs. Measurements count too, although what differs is another time and perhaps another
machine; firmness knows nothing of machines, and so they have no part in its calibration. What is only cited
is not replicated.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

from surveylab.claims.evidence import Evidence
from surveylab.claims.intervals import summarise
from surveylab.claims.registry import Claim
from surveylab.claims.seeds import FIRST_DESIGN_SEED
from surveylab.claims.verdict import decide

FORMAT = 1
_VERDICTS = ("supported", "contradicted", "negligible", "inconclusive")
_KINDS = ("experiment", "measurement", "identity")


class ReplicationError(ValueError):
    """A file of ``book/replications/`` cannot be read; the message names file, chapter, claim and fault."""


@dataclasses.dataclass(frozen=True)
class Replicated:
    """What one run on another seed gave for one claim, beside what was published then.

    Attributes:
        judged: What was judged: `Claim.judged` at the time of the run.
        verdict, reason, estimate, low, high: What the run gave, as in `Evidence`.
        published_verdict, published_estimate, firmness: What was published then; firmness is None where the
            published verdict did not follow from an interval.
        shift: How far the estimate moved, in standard errors; see `shift`.
    """

    judged: dict[str, Any]
    verdict: str
    reason: str | None
    estimate: float
    low: float | None
    high: float | None
    published_verdict: str
    published_estimate: float
    firmness: float | None
    shift: float | None

    @property
    def repeats(self) -> bool:
        """Whether the verdict is the same word as the published one."""
        return self.verdict == self.published_verdict

    @property
    def opposite(self) -> bool:
        """Whether supported became contradicted, or contradicted supported."""
        return {self.verdict, self.published_verdict} == {"supported", "contradicted"}


@dataclasses.dataclass(frozen=True)
class ReplicatedChapter:
    """One chapter of a run.

    Attributes:
        edition: The chapter's edition, 0 before editions were counted.
        design: The code and the learning rates of the chapter; see `design_of`.
        tuning_seed: The seed on which its rates were found anew; None if the kept ones were taken.
        device: cpu or cuda.
        seconds: How long it took, without finding rates.
        machine, versions: As `lab.begin` records them.
        claims: What the run gave, by claim.
    """

    edition: int
    design: str
    tuning_seed: int | None
    device: str
    seconds: float
    machine: dict[str, Any]
    versions: dict[str, Any]
    claims: dict[str, Replicated]


@dataclasses.dataclass(frozen=True)
class Replication:
    """One run of ``surveylab replicate``: one file.

    Attributes:
        name: The file's name without its suffix.
        seed: The seed of the run, below 1000.
        date: The day it began (UTC), as 2026-01-31.
        retuned: Whether it was to find rates anew.
        chapters: The chapters that it finished.
    """

    name: str
    seed: int
    date: str
    retuned: bool
    chapters: dict[str, ReplicatedChapter]

    def to_json(self) -> str:
        """The text of the file."""
        stored = {"format": FORMAT} | dataclasses.asdict(self)
        del stored["name"]
        return json.dumps(stored, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, name: str, text: str) -> Replication:
        """The inverse of `to_json`; strict.

        Raises:
            ReplicationError: The text is none of ours, or says what cannot be.
        """
        where = f"{name}.json"
        try:
            stored = json.loads(text, parse_constant=_no_number)
        except ValueError as error:
            raise ReplicationError(f"{where}: not JSON: {error}") from error
        given = _mapping(stored, where)
        version = given.pop("format", None)
        if version != FORMAT:
            raise ReplicationError(f"{where}: `format` is {version!r}; this version reads {FORMAT}")
        fields = _fields(cls, given | {"name": name}, where)
        seed, day = fields["seed"], fields["date"]
        if not 0 <= seed < FIRST_DESIGN_SEED:
            raise ReplicationError(f"{where}: `seed` is {seed}; it must be below {FIRST_DESIGN_SEED}")
        try:
            date.fromisoformat(day)
        except ValueError as error:
            raise ReplicationError(f"{where}: `date` is {day!r}; write it as 2026-01-31") from error
        if not re.fullmatch(rf"{day}-seed-{seed}(-\d+)?", name):
            raise ReplicationError(f"{where}: a run of {day} on seed {seed} is called {day}-seed-{seed}.json")
        if not given["chapters"]:
            raise ReplicationError(f"{where}: `chapters` is empty; remove the file")
        chapters = {
            chapter: _chapter(content, f"{where}: {chapter}")
            for chapter, content in given["chapters"].items()
        }
        return cls(**(fields | {"chapters": chapters}))


class Repeats(NamedTuple):
    """In how many of the runs that count a claim's published verdict came out again."""

    verdict: str
    repeated: int
    runs: int

    def __str__(self) -> str:
        return f"repeated {self.repeated} of {self.runs}"


def shift(published: Evidence, again: Evidence) -> float | None:
    """How far the estimate moved between two independent runs, in standard errors of the difference.

    (e′ − e) / √(s² + s′²), with the estimates e, e′ and their standard errors s, s′. If both runs have the
    same true effect it is about standard normal.

    Returns:
        The shift; None without a standard error, as for an identity or where all values are equal.
    """
    errors = []
    for evidence in (published, again):
        if evidence.kind not in ("experiment", "measurement") or evidence.values is None:
            return None
        interval = summarise(
            evidence.values,
            evidence.statistic or "mean",
            clusters=evidence.clusters,
            scale=evidence.margin or 0.0,
        )
        if interval is None:
            return None
        errors.append(interval.error)
    spread = math.hypot(*errors)
    if spread == 0 or published.estimate is None or again.estimate is None:
        return None
    return (again.estimate - published.estimate) / spread


def replicated(claim: Claim, published: Evidence, again: Evidence) -> Replicated:
    """The entry of one claim in the record.

    Raises:
        ValueError: The claim is only cited, or nothing was decided.
    """
    if published.estimate is None or again.estimate is None or again.verdict not in _VERDICTS:
        raise ValueError(f"{claim.id}: {published.verdict}, then {again.verdict}: no run decides it")
    return Replicated(
        judged=claim.judged(),
        verdict=again.verdict,
        reason=again.reason,
        estimate=again.estimate,
        low=again.low,
        high=again.high,
        published_verdict=published.verdict,
        published_estimate=published.estimate,
        firmness=published.firmness,
        shift=shift(published, again),
    )


def read_replications(folder: str | Path) -> tuple[Replication, ...]:
    """All recorded runs, the earliest first; none where there is no such folder.

    Raises:
        ReplicationError: A file cannot be read.
    """
    found = []
    for path in sorted(Path(folder).glob("*.json")):
        try:
            found.append(Replication.from_json(path.stem, path.read_text(encoding="utf-8")))
        except ReplicationError as error:
            raise ReplicationError(f"{path.parent.name}/{error}") from error
        except (OSError, UnicodeDecodeError) as error:
            raise ReplicationError(f"{path.parent.name}/{path.name}: cannot be read: {error}") from error
    return tuple(sorted(found, key=lambda run: (run.date, run.seed, len(run.name), run.name)))


def design_of(provenance: Mapping[str, Any]) -> str:
    """A hash of the code and the kept learning rates with which a chapter was published.

    Args:
        provenance: What the press recorded in the published notebook; its `parts` hold the hashes of the
            cells, of each module of the library that they reach, and of the tuning file.
    """
    parts = provenance.get("parts") or {}
    text = json.dumps([parts.get(name) for name in ("code", "library", "tuning")], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def counting(
    runs: Iterable[Replication], claim: Claim, published: Evidence, *, edition: int, design: str
) -> list[tuple[Replication, Replicated]]:
    """What counts for a claim, by the rules that stand at the top of this module.

    Args:
        runs: All runs, the earliest first.
        claim: The claim as it is now.
        published: Its published evidence, as it is now.
        edition: The edition of its chapter now.
        design: Code and learning rates with which its chapter is published now; see `design_of`.
    """
    seen = {published.seed}
    found = []
    for run in runs:
        chapter = run.chapters.get(claim.chapter)
        result = chapter.claims.get(claim.id) if chapter else None
        if chapter is None or result is None or run.seed in seen or published.profile != "standard":
            continue
        same = result.judged == claim.judged() and result.published_verdict == published.verdict
        if same and (chapter.edition, chapter.design) == (edition, design):
            seen.add(run.seed)
            found.append((run, result))
    return found


def repeats(
    runs: Iterable[Replication], claim: Claim, published: Evidence, *, edition: int, design: str
) -> Repeats:
    """In how many of the runs that count the published verdict came out again; see `counting`."""
    counted = counting(runs, claim, published, edition=edition, design=design)
    return Repeats(published.verdict, sum(result.repeats for _, result in counted), len(counted))


# ------------------------------------------------------------------------------------------ reading


def _chapter(stored: Any, where: str) -> ReplicatedChapter:
    fields = _fields(ReplicatedChapter, stored, where)
    if fields["edition"] < 0:
        raise ReplicationError(f"{where}: `edition` is {fields['edition']}; it must be at least 0")
    tuned = fields["tuning_seed"]
    if tuned is not None and tuned < FIRST_DESIGN_SEED:
        raise ReplicationError(f"{where}: `tuning_seed` is {tuned}; it must be at least {FIRST_DESIGN_SEED}")
    claims = {id: _claim(content, id, f"{where}: claim {id}") for id, content in fields["claims"].items()}
    return ReplicatedChapter(**(fields | {"claims": claims}))


def _claim(stored: Any, id: str, where: str) -> Replicated:
    found = Replicated(**_fields(Replicated, stored, where))
    judged = found.judged
    if judged.get("id") != id or judged.get("kind") not in _KINDS:
        raise ReplicationError(f"{where}: `judged` is of {judged.get('id')!r}, kind {judged.get('kind')!r}")
    for name in ("verdict", "published_verdict"):
        if getattr(found, name) not in _VERDICTS:
            given = getattr(found, name)
            raise ReplicationError(f"{where}: `{name}` is {given!r}; choose {', '.join(_VERDICTS)}")
    if found.firmness is not None and not 0 <= found.firmness <= 1:
        raise ReplicationError(f"{where}: `firmness` is {found.firmness}; a probability lies in [0, 1]")
    allowed = _allowed(found, where)
    if found.verdict not in allowed:
        said = " or ".join(sorted(allowed))
        raise ReplicationError(f"{where}: `verdict` is {found.verdict}; the numbers beside it say {said}")
    return found


def _allowed(found: Replicated, where: str) -> set[str]:
    """The verdicts that the numbers permit. What overrules an interval can only make it inconclusive."""
    margin = found.judged.get("margin")
    if isinstance(margin, bool) or not isinstance(margin, int | float):
        raise ReplicationError(f"{where}: `judged` has the margin {margin!r}, which is no number")
    if found.judged["kind"] == "identity":
        return {"supported" if found.estimate <= margin else "contradicted"}
    if found.low is None or found.high is None:
        return {"inconclusive"}
    direction = str(found.judged.get("direction"))
    return {decide(found.low, found.high, [], margin=margin, direction=direction), "inconclusive"}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


# By annotation: what a value must be, and how that is called.
_TYPES = {
    "str": (lambda v: isinstance(v, str), "a text"),
    "str | None": (lambda v: v is None or isinstance(v, str), "a text or null"),
    "bool": (lambda v: isinstance(v, bool), "true or false"),
    "int": (lambda v: isinstance(v, int) and not isinstance(v, bool), "a whole number"),
    "int | None": (
        lambda v: v is None or (isinstance(v, int) and not isinstance(v, bool)),
        "a whole number or null",
    ),
    "float": (_is_number, "a number"),
    "float | None": (lambda v: v is None or _is_number(v), "a number or null"),
}


def _fields(kind: type, stored: Any, where: str) -> dict[str, Any]:
    """The fields of a record: each there, none besides, each of its type."""
    given = _mapping(stored, where)
    wanted = {field.name: str(field.type) for field in dataclasses.fields(kind)}
    missing, unknown = sorted(wanted.keys() - given), sorted(given.keys() - wanted)
    if missing or unknown:
        raise ReplicationError(
            f"{where}: missing: {', '.join(missing) or 'none'}; unknown: {', '.join(unknown) or 'none'}"
        )
    for name, annotation in wanted.items():
        fits, words = _TYPES.get(annotation, (lambda v: isinstance(v, dict), "a mapping"))
        if not fits(given[name]):
            raise ReplicationError(f"{where}: `{name}` is {given[name]!r}; it must be {words}")
    return given


def _mapping(stored: Any, where: str) -> dict[str, Any]:
    if not isinstance(stored, Mapping):
        raise ReplicationError(f"{where}: {stored!r} is no mapping")
    return dict(stored)


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")
