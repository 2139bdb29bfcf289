"""The claims of the book: read from ``book/claims/<section>/<chapter>.yml``, strictly.

A claim is a statement of the review, sharpened until a run can decide it. It is written down before its
result is known: what one value measures (``effect``), the smallest effect that would matter (``margin``) and
why. A misspelt key would silently drop a margin or a citation, so the reader of these files accepts nothing
it does not know, and every error says where it stands and how to fix it.
"""

from __future__ import annotations

import dataclasses
import datetime
import difflib
import math
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import yaml

from surveylab.claims import planning
from surveylab.claims.seeds import FIRST_DESIGN_SEED

KINDS = ("identity", "experiment", "measurement", "source")
DIRECTIONS = ("greater", "equivalent")
STATISTICS = ("mean", "median", "tango", "sign")
SETTINGS = ("own", "scaled")

# What each kind must say, and what would be meaningless in it.
_REQUIRED = {
    "identity": ("effect", "margin", "why"),
    "experiment": ("effect", "unit", "margin", "why"),
    "measurement": ("effect", "unit", "margin", "why"),
    "source": ("cite", "place"),
}
_MEANINGLESS = {
    "identity": ("direction", "statistic", "replicates", "pilot", "published"),
    "experiment": (),
    "measurement": ("statistic", "replicates", "pilot"),
    "source": (
        "effect",
        "unit",
        "margin",
        "direction",
        "statistic",
        "profile",
        "replicates",
        "pilot",
        "published",
        "setting",
        "reach",
    ),
}
_HINTS = {
    "effect": "say what one value is, oriented so that the claimed direction is positive",
    "unit": "name the unit of one value, for example `unit: points`",
    "margin": "write the smallest effect that would matter (for an identity the tolerance), above 0",
    "why": "say why the margin is what it is",
    "cite": "list the bibliography keys it rests on, for example `cite: [ioffe2015batch]`",
    "place": "name the figure, table or section of the source",
    "id": "give it a short name such as `bn-axis`",
    "says": "write the statement as one sentence",
    "kind": "choose one of " + ", ".join(KINDS),
    "pilot": "add `pilot: {effect: ..., spread: ..., replicates: ..., seed: ...}`",
    "replicates": "write how many replicates a population were planned, 8 to 32",
}
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


class ClaimError(ValueError):
    """Something in a claims file is wrong; the message names the place, the claim and the fix."""


@dataclasses.dataclass(frozen=True)
class Change:
    """A change of a claim after its first result, shown in the ledger; ``result`` is the earlier result."""

    date: str
    change: str
    why: str
    result: str | None = None


@dataclasses.dataclass(frozen=True)
class Published:
    """The figure that the source itself gives, in the claim's unit; drawn beside ours."""

    value: float
    source: str
    place: str


@dataclasses.dataclass(frozen=True)
class Pilot:
    """What a pilot gave from which the replicates are planned: mean and standard deviation of its values."""

    effect: float
    spread: float
    replicates: int
    seed: int


@dataclasses.dataclass(frozen=True)
class Claim:
    """One statement that a run, or a source, decides.

    The fields are those of the claims files, but for `chapter`, which follows from the place of the file.

    Attributes:
        primary: Whether its verdict is that of the statements it covers, unless a part contradicts it.
        setting: ``own`` if the run has the statement's own setting, ``scaled`` if a smaller one does.
        reach: The first words of the verdict: "in small convolutional networks on …".
        replicates: How many replicates of each population were planned, from the pilot; None for the
            chapter's usual number.
        edition: The edition of the chapter since which the claim has stood as it is; 0 for claims that were
            published before editions were counted.
    """

    id: str
    says: str
    chapter: str
    kind: str
    covers: tuple[str, ...] = ()
    effect: str | None = None
    direction: str = "greater"
    statistic: str = "mean"
    unit: str | None = None
    margin: float | None = None
    why: str | None = None
    cite: tuple[str, ...] = ()
    place: str | None = None
    scope: str | None = None
    note: str | None = None
    corrects: str | None = None
    profile: str | None = None
    history: tuple[Change, ...] = ()
    primary: bool = False
    setting: str = "own"
    reach: str | None = None
    replicates: int | None = None
    pilot: Pilot | None = None
    published: Published | None = None
    edition: int = 0

    def judged(self) -> dict[str, Any]:
        """The part that decides the verdict. It goes into the fingerprint; wording does not.

        Planned replicates and the edition count only where they are given, so that a claim without them keeps
        the fingerprint it had before there were any.
        """
        later = {"replicates": self.replicates, "edition": self.edition or None}
        return {
            "id": self.id,
            "kind": self.kind,
            "effect": self.effect,
            "direction": self.direction,
            "statistic": self.statistic,
            "margin": self.margin,
            "profile": self.profile,
        } | {name: value for name, value in later.items() if value is not None}


_KEYS = tuple(field.name for field in dataclasses.fields(Claim) if field.name != "chapter")
_NAME = re.compile(r"[a-z][a-z0-9_]*")


def load_claims(
    folder: str | Path,
    *,
    bibliography: str | Path | None = None,
    chapters: Collection[str] | None = None,
    inventory: Collection[str] | None = None,
) -> dict[str, Claim]:
    """Read and check the claims of all chapters.

    Args:
        folder: ``book/claims``. Each chapter's claims are a list in ``<section>/<chapter>.yml``; a list that
            is still empty, or nothing but comments, is a chapter without claims.
        bibliography: A ``.bib`` file. When given, every citation must be in it.
        chapters: The chapters that exist. When given, every file must belong to one.
        inventory: The ids of the review's statements. When given, ``covers`` may name no other.

    Returns:
        The claims by id: chapter by chapter in the order of their names, each in the order of its file.

    Raises:
        ClaimError: At the first thing that is wrong, with file, line, claim and fix.
    """
    folder = Path(folder)
    keys = None if bibliography is None else _citation_keys(Path(bibliography))
    claims: dict[str, Claim] = {}
    places: dict[str, tuple[Path, int]] = {}
    for chapter, path in claims_files(folder).items():
        if chapters is not None and chapter not in chapters:
            fix = f"rename the file, or make notebooks/{chapter}.ipynb (`surveylab new {chapter}` makes both)"
            raise ClaimError(f"{path}: there is no chapter {chapter!r}; {_closest(chapter, chapters, fix)}")
        for entry in _entries(path):
            claim = entry.claim(chapter)
            if claim.id in places:
                first, line = places[claim.id]
                where = f"line {line}" if first == path else f"{first}:{line}"
                fix = f"it is already used at {where}; ids must differ, rename one"
                entry.fail("id", f"duplicate id {claim.id!r}", fix)
            entry.check_members(
                "cite", claim.cite, keys, f"not a key of {bibliography}", "add the entry there"
            )
            if claim.published is not None:
                entry.check_members(
                    "published",
                    (claim.published.source,),
                    keys,
                    f"not a key of {bibliography}",
                    "add the entry there",
                )
            entry.check_members(
                "covers", claim.covers, inventory, "not a statement of the review", "correct the id"
            )
            claims[claim.id] = claim
            places[claim.id] = path, entry.line
    check_primary(claims.values())
    return claims


def claims_files(folder: str | Path) -> dict[str, Path]:
    """The claims file of each chapter that has one, in the order of their names.

    Raises:
        ClaimError: If there is no such folder, or a file in it is not where a chapter's claims belong.
    """
    folder = Path(folder)
    right = "a chapter's claims belong in book/claims/<section>/<chapter>.yml"
    if not folder.is_dir():
        raise ClaimError(f"{folder}: there is no such folder; {right}")
    found = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.is_dir() or any(part.startswith(".") for part in inside.parts):
            continue
        names = inside.with_suffix("").parts
        if inside.suffix != ".yml" or len(names) != 2 or not all(_NAME.fullmatch(name) for name in names):
            fix = f"{right}, both names in lower case with underscores"
            raise ClaimError(f"{path}: not the claims of a chapter; {fix}")
        found["/".join(names)] = path
    return found


def _entries(path: Path) -> Iterator[_Entry]:
    """The items of one claims file."""
    loader = _open(path)
    try:
        root = loader.get_single_node()
        if root is None:  # nothing but comments
            return
        if not isinstance(root, yaml.SequenceNode):
            line = root.start_mark.line + 1
            raise ClaimError(
                f"{path}:{line}: the file is not a list of claims; begin each claim with `- id: ...`"
            )
        for node in root.value:
            yield _Entry(path, node, loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = 1 if mark is None else mark.line + 1
        problem = "; ".join(part for part in (error.context, error.problem) if part)
        fix = "correct the YAML there (quote texts that hold `: ` or ` #`; indent with spaces)"
        raise ClaimError(f"{path}:{line}: not valid YAML: {problem}; {fix}") from error
    finally:
        loader.dispose()


def check_primary(claims: Iterable[Claim]) -> None:
    """See that no statement has two primary claims.

    Raises:
        ClaimError: If one has; the message names both claims.
    """
    found: dict[str, str] = {}
    for claim in claims:
        for statement in claim.covers if claim.primary else ():
            if statement in found:
                raise ClaimError(
                    f"claims {found[statement]} and {claim.id} are both primary for statement {statement}; "
                    "keep `primary: true` in the one whose verdict is the statement's"
                )
            found[statement] = claim.id


def edition_of(claims: Iterable[Claim], chapter: str) -> int:
    """The edition of a chapter: the latest of its claims', 0 where none names one."""
    return max((claim.edition for claim in claims if claim.chapter == chapter), default=0)


def _open(path: Path) -> yaml.SafeLoader:
    """A YAML loader on the file. The node tree is wanted, not only the data: nodes know their lines."""
    try:
        return yaml.SafeLoader(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ClaimError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ClaimError(f"{path}: not UTF-8 at byte {error.start}; save the file as UTF-8") from error
    except yaml.reader.ReaderError as error:
        raise ClaimError(
            f"{path}: a character YAML forbids at position {error.position}; remove it"
        ) from error


def _citation_keys(path: Path) -> set[str]:
    from pybtex.database import parse_file
    from pybtex.exceptions import PybtexError

    try:
        return set(parse_file(str(path), bib_format="bibtex").entries.keys())
    except (OSError, UnicodeDecodeError, PybtexError) as error:
        raise ClaimError(
            f"{path}: the bibliography cannot be read: {error}; correct or restore it"
        ) from error


class _Entry:
    """One item of the list while it is read: values, and the line of each for the errors."""

    def __init__(self, path: Path, node: yaml.Node, loader: yaml.SafeLoader) -> None:
        self.path = path
        self.lines: dict[str, int] = {}
        self.values: dict[str, Any] = {}
        self.line = node.start_mark.line + 1
        if not isinstance(node, yaml.MappingNode):
            self.fail(
                None,
                "an item that is not a mapping",
                "begin a claim with `- id: ...` and indent its keys below",
            )
        for key_node, value_node in node.value:
            key = str(getattr(key_node, "value", key_node.tag))
            repeated = key in self.lines
            self.lines[key] = key_node.start_mark.line + 1
            if repeated:
                self.fail(key, f"the key {key!r} appears twice", "remove one of the two")
            try:
                self.values[key] = loader.construct_object(value_node, deep=True)
            except ValueError as error:  # a date such as 2026-02-31
                self.fail(
                    key, f"the value of {key!r} cannot be read ({error})", "correct it, or put it in quotes"
                )

    def fail(self, key: str | None, problem: str, fix: str) -> NoReturn:
        name = self.values.get("id")
        where = f"{self.path}:{self.lines.get(key or '', self.line)}"
        raise ClaimError(f"{where}: claim {name if name else '(without id)'}: {problem}; {fix}")

    def check_members(
        self, key: str, names: Iterable[str], known: Collection[str] | None, problem: str, fix: str
    ) -> None:
        for name in names:
            if known is not None and name not in known:
                self.fail(key, f"`{key}` names {name!r}, {problem}", _closest(name, known, fix))

    def claim(self, chapter: str) -> Claim:
        for key in self.values:
            if key == "chapter":
                fix = f"the file's place says that it is {chapter}: remove the line"
                self.fail(key, "`chapter` is not a key of a claim", fix)
            if key not in _KEYS:
                fix = _closest(key, _KEYS, "the keys are " + ", ".join(_KEYS))
                self.fail(key, f"unknown key {key!r}", fix)
        for key in ("id", "says", "kind"):
            self._require(key)
        name = self._text("id")
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
            self.fail(
                "id", f"{name!r} is not an id", "use lower-case words joined by hyphens, such as `bn-axis`"
            )
        kind = self._choice("kind", KINDS)
        for key in _REQUIRED[kind]:
            self._require(key, f" (kind {kind} needs it)")
        for key in _MEANINGLESS[kind]:
            if key in self.values:
                self.fail(
                    key, f"`{key}` means nothing in a claim of kind {kind}", "remove it, or change the kind"
                )
        given = self.values
        return Claim(
            id=name,
            says=self._text("says"),
            chapter=chapter,
            kind=kind,
            covers=self._list("covers"),
            effect=self._optional("effect"),
            direction=self._choice("direction", DIRECTIONS) if "direction" in given else "greater",
            statistic=self._choice("statistic", STATISTICS) if "statistic" in given else "mean",
            unit=self._optional("unit"),
            margin=self._margin() if "margin" in given else None,
            why=self._optional("why"),
            cite=self._list("cite"),
            place=self._optional("place"),
            scope=self._optional("scope"),
            note=self._optional("note"),
            corrects=self._optional("corrects"),
            profile=self._choice("profile", ("full",)) if "profile" in given else None,
            history=self._history(),
            primary=self._primary(),
            # A small experiment speaks for a larger setting unless it says that it has the statement's own.
            setting=self._choice("setting", SETTINGS)
            if "setting" in given
            else "scaled"
            if kind == "experiment"
            else "own",
            reach=self._optional("reach"),
            replicates=self._replicates(),
            pilot=self._pilot(),
            published=self._published(),
            edition=self._whole("edition", 1) if "edition" in given else 0,
        )

    def _require(self, key: str, reason: str = "") -> None:
        if self.values.get(key) in (None, "", []):
            self.fail(key, f"`{key}` is missing{reason}", _HINTS[key])

    def _text(self, key: str) -> str:
        value = self.values[key]
        if not isinstance(value, str) or not value.strip():
            self.fail(
                key, f"`{key}` is {value!r}, not a text", "write a text (in quotes if it looks like a number)"
            )
        return value.strip()

    def _optional(self, key: str) -> str | None:
        return self._text(key) if key in self.values else None

    def _choice(self, key: str, choices: tuple[str, ...]) -> str:
        value = self.values[key]
        if value not in choices:
            self.fail(
                key, f"`{key}` is {value!r}", _closest(str(value), choices, "choose " + " or ".join(choices))
            )
        return str(value)

    def _list(self, key: str) -> tuple[str, ...]:
        value = self.values.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
            self.fail(key, f"`{key}` is {value!r}, not a list of names", f"write `{key}: [name, ...]`")
        repeated = next((item for item in value if value.count(item) > 1), None)
        if repeated is not None:
            self.fail(key, f"`{key}` names {repeated!r} twice", "remove one of the two")
        return tuple(value)

    def _margin(self) -> float:
        value = self._number("margin", "margin", self.values["margin"], _HINTS["margin"])
        if not (math.isfinite(value) and value > 0):
            self.fail("margin", f"`margin` is {value!r}, not a finite number above 0", _HINTS["margin"])
        return value

    def _number(self, key: str, name: str, value: Any, fix: str) -> float:
        if isinstance(value, str) and _NUMBER.fullmatch(value):
            value = float(value)  # NOTE: YAML 1.1 reads 1e-5, without a point, as a text.
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.fail(key, f"`{name}` is {value!r}, not a number", fix)
        return float(value)

    def _whole(self, key: str, least: int, most: int | None = None) -> int:
        return self._counted(key, key, self.values[key], least, most)

    def _counted(self, key: str, name: str, value: Any, least: int, most: int | None = None) -> int:
        right = f"from {least} to {most}" if most is not None else f"of at least {least}"
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= (most or value):
            self.fail(key, f"`{name}` is {value!r}", f"write a whole number {right}")
        return value

    def _primary(self) -> bool:
        value = self.values.get("primary", False)
        if not isinstance(value, bool):
            self.fail("primary", f"`primary` is {value!r}", "write `primary: true`, or leave it out")
        if value and not self.values.get("covers"):
            self.fail("primary", "`primary` in a claim that covers no statement", "name it in `covers`")
        return value

    def _replicates(self) -> int | None:
        if "replicates" not in self.values:
            return None
        count = self._whole("replicates", planning.FEWEST, planning.MOST)
        self._require("pilot", " (planned `replicates` need it)")
        return count

    def _pilot(self) -> Pilot | None:
        """The pilot, and whether the planned replicates are enough by what it gave."""
        if "pilot" not in self.values:
            return None
        self._require("replicates", " (a `pilot` is there to plan them)")
        given = self._fields("pilot", ("effect", "spread", "replicates", "seed"))
        fix = "write the mean and the standard deviation of the pilot's values"
        effect = self._number("pilot", "effect", given["effect"], fix)
        spread = self._number("pilot", "spread", given["spread"], fix)
        if not (math.isfinite(effect) and 0 < spread < math.inf):
            self.fail("pilot", f"effect {effect:g} and spread {spread:g}", f"{fix}; the spread is above 0")
        count = self._counted("pilot", "replicates", given["replicates"], 2)
        seed = self._counted("pilot", "seed", given["seed"], FIRST_DESIGN_SEED)
        if self.values.get("statistic", "mean") == "mean":
            direction = self.values.get("direction", "greater")
            plan = planning.plan(effect, spread, margin=self._margin(), direction=direction)
            if self.values["replicates"] < plan.replicates:
                firm = "for a firm verdict" if plan.firm else "and even these give no firm verdict"
                self.fail(
                    "replicates",
                    f"`replicates` is {self.values['replicates']}, the pilot asks for {plan.replicates} "
                    f"{firm}",
                    f"write `replicates: {plan.replicates}`",
                )
        return Pilot(effect, spread, count, seed)

    def _published(self) -> Published | None:
        if "published" not in self.values:
            return None
        given = self._fields("published", ("value", "source", "place"))
        value = self._number(
            "published", "value", given["value"], "write the source's figure in the claim's unit"
        )
        if not math.isfinite(value):
            self.fail("published", f"`value` is {value!r}", "write the source's figure in the claim's unit")
        for name in ("source", "place"):
            if not isinstance(given[name], str) or not given[name].strip():
                self.fail(
                    "published",
                    f"`{name}` is {given[name]!r}, not a text",
                    _HINTS["cite" if name == "source" else name],
                )
        return Published(value, given["source"], given["place"].strip())

    def _fields(self, key: str, names: tuple[str, ...]) -> dict[str, Any]:
        value = self.values[key]
        if not isinstance(value, dict) or set(value) != set(names):
            fix = f"write `{key}: {{{', '.join(f'{name}: ...' for name in names)}}}`"
            self.fail(key, f"`{key}` is {value!r}", fix)
        return value

    def _history(self) -> tuple[Change, ...]:
        value = self.values.get("history", [])
        fix = "write `- {date: 2026-01-31, change: ..., why: ..., result: ...}` for each change"
        if not isinstance(value, list):
            self.fail("history", "`history` is not a list", fix)
        changes = []
        for item in value:
            if not isinstance(item, dict) or set(item) - {"result"} != {"date", "change", "why"}:
                self.fail("history", f"{item!r} is not a change with date, change and why", fix)
            try:
                date = datetime.date.fromisoformat(str(item["date"])).isoformat()
            except ValueError:
                self.fail("history", f"{item['date']!r} is not a date", fix)
            result = item.get("result")
            changes.append(
                Change(date, str(item["change"]), str(item["why"]), None if result is None else str(result))
            )
        return tuple(changes)


def _closest(name: str, known: Iterable[str], otherwise: str) -> str:
    """The fix for a name that is not known: the nearest one that is, if any is near."""
    match = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean {match[0]!r}? Otherwise {otherwise}" if match else otherwise
