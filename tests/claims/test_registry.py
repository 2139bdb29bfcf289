"""The claims files are read strictly, and every error names place, claim and fix."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from surveylab.claims import Change, Claim, ClaimError, Pilot, Published, edition_of, load_claims

GOOD = """\
# a comment, so that lines and items differ
- id: bn-axis
  says: It standardises each channel.
  covers: [bn-axis]
  kind: identity
  effect: largest difference from the definition
  margin: 1e-5
  why: float32 rounds at 1e-7.
  cite: [ioffe2015batch]
- id: bn-fast
  says: "It speeds up convergence."
  covers: [bn-fast]
  kind: experiment
  effect: steps saved
  unit: steps
  margin: 2
  why: Fewer than two would not be noticed.
  history:
    - {date: 2026-01-31, change: margin 1 to 2, why: one was below the resolution}
- id: bn-time
  says: It costs time.
  kind: measurement
  effect: log of the time with over the time without
  unit: log ratio
  margin: 0.05
  why: Five per cent.
- id: bn-cnns
  says: It is standard.
  kind: source
  cite: [ioffe2015batch]
  place: Section 4
"""
BIB = "@article{ioffe2015batch,\n  title = {Batch Norm},\n  author = {Ioffe, S.},\n  year = {2015}\n}\n"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


Load = Callable[[str], dict[str, Claim]]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load(text: str) -> dict[str, Claim]:
        (tmp_path / "references.bib").write_text(BIB)
        write(tmp_path / "claims/normalization/batch_norm.yml", text)
        return load_claims(
            tmp_path / "claims",
            bibliography=tmp_path / "references.bib",
            chapters={"normalization/batch_norm"},
            inventory={"bn-axis", "bn-fast"},
        )

    return load


def test_a_right_file_gives_its_claims_in_order(load: Load) -> None:
    claims = load(GOOD)
    assert list(claims) == ["bn-axis", "bn-fast", "bn-time", "bn-cnns"]
    axis, fast = claims["bn-axis"], claims["bn-fast"]
    assert axis.margin == 1e-5  # YAML 1.1 reads it as a text
    assert (fast.direction, fast.statistic, fast.profile) == ("greater", "mean", None)
    assert fast.margin == 2.0
    assert isinstance(fast.margin, float)
    assert fast.history == (Change("2026-01-31", "margin 1 to 2", "one was below the resolution"),)
    assert (claims["bn-cnns"].margin, claims["bn-cnns"].cite) == (None, ("ioffe2015batch",))


def test_what_is_judged_leaves_the_wording_out(load: Load) -> None:
    fast = load(GOOD)["bn-fast"]
    assert fast.judged() == {
        "id": "bn-fast",
        "kind": "experiment",
        "effect": "steps saved",
        "direction": "greater",
        "statistic": "mean",
        "margin": 2.0,
        "profile": None,
    }
    assert dataclasses.replace(fast, says="x", why="y", scope="z").judged() == fast.judged()


def test_a_claim_cannot_be_changed(load: Load) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        load(GOOD)["bn-fast"].margin = 0.0  # type: ignore[misc]


# what is replaced, by what, at which line, of which claim, and what the message must hold
WRONG = {
    "unknown key": ("  margin: 2\n", "  margn: 2\n", 16, "bn-fast", ["'margn'", "did you mean 'margin'"]),
    "far unknown key": ("  margin: 2\n", "  zzz: 2\n", 16, "bn-fast", ["'zzz'", "the keys are id, says"]),
    "missing margin": ("  margin: 2\n", "", 10, "bn-fast", ["`margin` is missing", "smallest effect"]),
    "empty margin": ("  margin: 2\n", "  margin:\n", 16, "bn-fast", ["`margin` is missing"]),
    "missing why": ("  why: Five per cent.\n", "", 20, "bn-time", ["`why` is missing", "say why"]),
    "missing effect": ("  effect: steps saved\n", "", 10, "bn-fast", ["`effect` is missing", "oriented"]),
    "missing unit": ("  unit: steps\n", "", 10, "bn-fast", ["`unit` is missing", "unit: points"]),
    "identity without margin": ("  margin: 1e-5\n", "", 2, "bn-axis", ["`margin` is missing", "tolerance"]),
    "source without place": ("  place: Section 4\n", "", 27, "bn-cnns", ["`place` is missing", "figure"]),
    "source without cite": (
        "  cite: [ioffe2015batch]\n  place",
        "  place",
        27,
        "bn-cnns",
        ["`cite` is missing", "ioffe2015batch"],
    ),
    "source with margin": (
        "  place: Sec",
        "  margin: 1\n  place: Sec",
        31,
        "bn-cnns",
        ["`margin`", "remove it"],
    ),
    "missing id": ("- id: bn-axis\n  says", "- says", 2, "(without id)", ["`id` is missing", "bn-axis"]),
    "id that is none": ("- id: bn-axis", "- id: BN axis", 2, "BN axis", ["not an id", "lower-case"]),
    "margin 0": ("margin: 2\n", "margin: 0\n", 16, "bn-fast", ["0", "above 0"]),
    "margin negative": ("margin: 2\n", "margin: -1e-3\n", 16, "bn-fast", ["-0.001", "above 0"]),
    "margin NaN": ("margin: 2\n", "margin: .nan\n", 16, "bn-fast", ["nan", "finite"]),
    "margin infinite": ("margin: 2\n", "margin: .inf\n", 16, "bn-fast", ["inf", "finite"]),
    "margin overflowing": ("margin: 2\n", "margin: 1e999\n", 16, "bn-fast", ["inf", "finite"]),
    "margin true": ("margin: 2\n", "margin: yes\n", 16, "bn-fast", ["True", "not a number"]),
    "margin in words": ("margin: 2\n", "margin: two\n", 16, "bn-fast", ["'two'", "not a number"]),
    "duplicate id": ("- id: bn-time", "- id: bn-fast", 20, "bn-fast", ["duplicate", "line 10", "rename"]),
    "duplicate key": ("  unit: steps\n", "  unit: a\n  unit: b\n", 16, "bn-fast", ["twice", "remove one"]),
    "unknown citation": (
        "cite: [ioffe2015batch]\n- id",
        "cite: [iofe2015batch]\n- id",
        9,
        "bn-axis",
        ["'iofe2015batch'", "references.bib", "did you mean 'ioffe2015batch'"],
    ),
    "citation in other case": (
        "cite: [ioffe2015batch]\n- id",
        "cite: [Ioffe2015Batch]\n- id",
        9,
        "bn-axis",
        ["'Ioffe2015Batch'", "did you mean"],
    ),
    "chapter in a claim": (
        "  covers: [bn-fast]",
        "  chapter: normalization/batch_norm\n  covers: [bn-fast]",
        12,
        "bn-fast",
        ["`chapter` is not a key", "the file's place says that it is normalization/batch_norm", "remove"],
    ),
    "unknown statement": (
        "covers: [bn-fast]",
        "covers: [bn-fasd]",
        12,
        "bn-fast",
        ["did you mean 'bn-fast'"],
    ),
    "unknown kind": ("kind: measurement", "kind: mesurement", 22, "bn-time", ["did you mean 'measurement'"]),
    "unknown direction": (
        "  unit: steps",
        "  direction: less\n  unit: steps",
        15,
        "bn-fast",
        ["greater or equ"],
    ),
    "unknown statistic": (
        "  unit: steps",
        "  statistic: mode\n  unit: steps",
        15,
        "bn-fast",
        ["mean or median or tango or sign"],
    ),
    "sign of a measurement": (
        "  unit: log",
        "  statistic: sign\n  unit: log",
        24,
        "bn-time",
        ["means nothing"],
    ),
    "unknown profile": (
        "  unit: steps",
        "  profile: standard\n  unit: steps",
        15,
        "bn-fast",
        ["choose full"],
    ),
    "covers not a list": ("covers: [bn-fast]", "covers: bn-fast", 12, "bn-fast", ["not a list", "covers: ["]),
    "covers twice": ("covers: [bn-fast]", "covers: [bn-fast, bn-fast]", 12, "bn-fast", ["twice", "remove"]),
    "says not a text": (
        'says: "It speeds up convergence."',
        "says: 3",
        11,
        "bn-fast",
        ["not a text", "quotes"],
    ),
    "history without why": (
        ", why: one was below the resolution",
        "",
        18,
        "bn-fast",
        ["date, change and why"],
    ),
    "history with a wrong date": (
        "2026-01-31",
        "January",
        18,
        "bn-fast",
        ["'January' is not a date", "date: 2"],
    ),
    "history with no such day": ("2026-01-31", "2026-02-31", 18, "bn-fast", ["history", "correct it"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named_with_place_and_fix(case: str, load: Load) -> None:
    old, new, line, name, parts = WRONG[case]
    assert GOOD.count(old) == 1, "the case must change one place"
    with pytest.raises(ClaimError) as caught:
        load(GOOD.replace(old, new))
    message = str(caught.value)
    assert f"claims/normalization/batch_norm.yml:{line}: claim {name}: " in message
    for part in parts:
        assert part in message
    assert "; " in message, "a fix follows the problem"


@pytest.mark.parametrize(
    ("text", "place", "part"),
    [
        ("bn-axis: {says: x}\n", "batch_norm.yml:1:", "begin each claim with `- id: ...`"),
        ("{}\n", "batch_norm.yml:1:", "not a list of claims"),
        ("just words\n", "batch_norm.yml:1:", "not a list of claims"),
        ("- id: a\n  says: b: c\n", "batch_norm.yml:2:", "quote texts"),
        ("- id: a\n\tsays: b\n", "batch_norm.yml:2:", "indent with spaces"),
        ("- [id, a]\n", "batch_norm.yml:1: claim (without id)", "not a mapping"),
        ("- id: a\n  says: !!python/object:os.system x\n", "batch_norm.yml:2:", "not valid YAML"),
        ("- id: a\n  says: \x07\n", "batch_norm.yml", "a character YAML forbids"),
    ],
)
def test_a_file_that_is_no_list_of_claims(text: str, place: str, part: str, load: Load) -> None:
    with pytest.raises(ClaimError) as caught:
        load(text)
    assert place in str(caught.value)
    assert part in str(caught.value)


@pytest.mark.parametrize("text", ["", "# - id: to-come\n", "[]\n"])
def test_a_chapter_may_still_be_without_claims(text: str, load: Load) -> None:
    assert load(text) == {}


def test_each_chapter_has_a_file_and_an_id_stands_in_one(tmp_path: Path) -> None:
    axis = GOOD[GOOD.index("- id: bn-axis") : GOOD.index("- id: bn-fast")]
    write(tmp_path / "normalization/layer_norm.yml", axis.replace("bn-axis", "ln-axis"))
    write(tmp_path / "normalization/batch_norm.yml", axis)
    write(tmp_path / "adaptive/activations.yml", axis.replace("bn-axis", "act-axis"))
    write(tmp_path / "normalization/.ipynb_checkpoints/batch_norm.yml", "not claims")
    found = {id: claim.chapter for id, claim in load_claims(tmp_path).items()}
    assert list(found.items()) == [
        ("act-axis", "adaptive/activations"),
        ("bn-axis", "normalization/batch_norm"),
        ("ln-axis", "normalization/layer_norm"),
    ]
    write(tmp_path / "normalization/layer_norm.yml", "\n" + axis)
    with pytest.raises(ClaimError) as caught:
        load_claims(tmp_path)
    first, second = (tmp_path / f"normalization/{name}.yml" for name in ("batch_norm", "layer_norm"))
    message = f"{second}:2: claim bn-axis: duplicate id 'bn-axis'; it is already used at {first}:1; ids"
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "name",
    ["batch_norm.yml", "a/b/batch_norm.yml", "a/batch_norm.yaml", "a/batch-norm.yml", "A/batch_norm.yml"],
)
def test_a_file_that_is_not_where_claims_belong_is_named(name: str, tmp_path: Path) -> None:
    write(tmp_path / name, GOOD)
    with pytest.raises(
        ClaimError, match=r"not the claims of a chapter; .*<section>/<chapter>\.yml"
    ) as caught:
        load_claims(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")


def test_a_file_of_a_chapter_that_does_not_exist_is_named(tmp_path: Path) -> None:
    write(tmp_path / "normalization/bach_norm.yml", GOOD)
    with pytest.raises(ClaimError) as caught:
        load_claims(tmp_path, chapters={"normalization/batch_norm"})
    message = str(caught.value)
    assert "bach_norm.yml: there is no chapter 'normalization/bach_norm'; did you mean" in message
    assert "'normalization/batch_norm'?" in message and "surveylab new normalization/bach_norm" in message


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(
        ClaimError, match=r"claims: there is no such folder; .*book/claims/<section>/<chapter>"
    ):
        load_claims(tmp_path / "claims")
    path = tmp_path / "claims/normalization/batch_norm.yml"
    write(path, "")
    path.write_bytes(b"- id: \xff\n")
    with pytest.raises(ClaimError, match="not UTF-8 at byte 6; save the file as UTF-8"):
        load_claims(tmp_path / "claims")
    path.unlink()
    path.symlink_to(tmp_path / "nowhere.yml")
    with pytest.raises(ClaimError, match=r"batch_norm\.yml: cannot be read \(No such file"):
        load_claims(tmp_path / "claims")
    path.unlink()
    write(path, GOOD)
    with pytest.raises(ClaimError, match=r"missing\.bib: the bibliography cannot be read"):
        load_claims(tmp_path / "claims", bibliography=tmp_path / "missing.bib")
    (tmp_path / "broken.bib").write_text("@article{a, title = {b\n")
    with pytest.raises(ClaimError, match=r"broken\.bib: the bibliography cannot be read"):
        load_claims(tmp_path / "claims", bibliography=tmp_path / "broken.bib")


def test_without_lists_to_compare_with_nothing_is_compared(tmp_path: Path) -> None:
    write(tmp_path / "any/chapter.yml", GOOD.replace("ioffe2015batch", "any"))
    assert len(load_claims(tmp_path)) == 4


# What version 2 of the rules added, in the claim bn-fast.
PLANNED = """\
  unit: steps
  primary: true
  setting: own
  reach: in small convolutional networks on MNIST-1D
  replicates: 16
  pilot: {effect: 4.9, spread: 4.4, replicates: 8, seed: 1003}
  published: {value: 3.5, source: ioffe2015batch, place: Table 2}
  edition: 2
"""


def fast(load: Load, text: str) -> Claim:
    return load(GOOD.replace("  unit: steps\n", text))["bn-fast"]


def test_what_a_claim_may_say_beside(load: Load) -> None:
    claim = fast(load, PLANNED)
    assert (claim.primary, claim.setting, claim.edition) == (True, "own", 2)
    assert claim.reach == "in small convolutional networks on MNIST-1D"
    assert (claim.replicates, claim.pilot) == (16, Pilot(4.9, 4.4, 8, 1003))
    assert claim.published == Published(3.5, "ioffe2015batch", "Table 2")
    plain = load(GOOD)
    assert [plain[name].setting for name in plain] == ["own", "scaled", "own", "own"]
    assert plain["bn-fast"] == dataclasses.replace(
        claim,
        primary=False,
        setting="scaled",
        reach=None,
        replicates=None,
        pilot=None,
        published=None,
        edition=0,
    )


@pytest.mark.parametrize("statistic", ["mean", "median", "tango", "sign"])
def test_the_statistics(statistic: str, load: Load) -> None:
    assert fast(load, f"  statistic: {statistic}\n  unit: steps\n").statistic == statistic


def test_replicates_and_edition_are_judged_where_they_are_given(load: Load) -> None:
    claim, plain = fast(load, PLANNED), load(GOOD)["bn-fast"]
    assert claim.judged() == plain.judged() | {"replicates": 16, "edition": 2}
    wording = dataclasses.replace(
        claim, primary=False, setting="scaled", reach=None, published=None, history=()
    )
    assert wording.judged() == claim.judged()


def test_the_edition_of_a_chapter_is_the_latest_of_its_claims(load: Load) -> None:
    claims = load(GOOD.replace("  unit: steps\n", PLANNED)).values()
    assert edition_of(claims, "normalization/batch_norm") == 2
    assert edition_of(claims, "normalization/layer_norm") == 0


def test_an_earlier_result_in_the_history(load: Load) -> None:
    text = GOOD.replace("below the resolution}", "below the resolution, result: 'supported, +1.4'}")
    assert load(text)["bn-fast"].history[0].result == "supported, +1.4"
    assert load(GOOD)["bn-fast"].history[0].result is None


# what is written in place of a line of PLANNED, and what the message must hold
WRONG_PLAN = {
    "primary: true": [
        ("primary: yes please", ["`primary` is 'yes please'", "`primary: true`"]),
    ],
    "setting: own": [("setting: small", ["'small'", "choose own or scaled"])],
    "reach: in small convolutional networks on MNIST-1D": [("reach: 3", ["not a text"])],
    "replicates: 16": [
        ("replicates: 7", ["`replicates` is 7", "a whole number from 8 to 32"]),
        ("replicates: 33", ["`replicates` is 33", "from 8 to 32"]),
        ("replicates: 12.5", ["`replicates` is 12.5", "whole number"]),
        ("replicates: true", ["`replicates` is True", "whole number"]),
        ("margin: 2", ["twice"]),
    ],
    "pilot: {effect: 4.9, spread: 4.4, replicates: 8, seed: 1003}": [
        ("pilot: 4.9", ["`pilot` is 4.9", "pilot: {effect: ..., spread: ..., replicates: ..., seed: ...}"]),
        ("pilot: {effect: 4.9, spread: 4.4}", ["pilot: {effect: ..."]),
        ("pilot: {effect: 4.9, spread: 0, replicates: 8, seed: 1003}", ["spread 0", "above 0"]),
        ("pilot: {effect: .nan, spread: 1, replicates: 8, seed: 1003}", ["effect nan", "the mean and"]),
        ("pilot: {effect: big, spread: 1, replicates: 8, seed: 1003}", ["`effect` is 'big', not a number"]),
        ("pilot: {effect: 4.9, spread: 4.4, replicates: 1, seed: 1003}", ["`replicates` is 1", "at least 2"]),
        ("pilot: {effect: 4.9, spread: 4.4, replicates: 8, seed: 999}", ["`seed` is 999", "at least 1000"]),
        ("pilot: {effect: 4.2, spread: 4.4, replicates: 8, seed: 1003}", ["the pilot asks for", "firm"]),
        ("pilot: {effect: 2.1, spread: 4.4, replicates: 8, seed: 1003}", ["asks for 32", "no firm verdict"]),
        ("note: no pilot", ["`pilot` is missing (planned `replicates` need it)", "pilot: {effect"]),
    ],
    "published: {value: 3.5, source: ioffe2015batch, place: Table 2}": [
        ("published: 3.5", ["`published` is 3.5", "published: {value: ..., source: ..., place: ...}"]),
        ("published: {value: x, source: ioffe2015batch, place: Table 2}", ["`value` is 'x', not a number"]),
        ("published: {value: .inf, source: ioffe2015batch, place: Table 2}", ["inf", "the source's figure"]),
        ("published: {value: 3, source: 4, place: Table 2}", ["`source` is 4, not a text"]),
        ("published: {value: 3, source: ioffe2015batch, place: ''}", ["`place` is '', not a text"]),
        (
            "published: {value: 3, source: iofe2015batch, place: T}",
            ["`published` names 'iofe2015batch'", "did you mean"],
        ),
    ],
    "edition: 2": [("edition: 0", ["`edition` is 0", "at least 1"]), ("edition: first", ["'first'"])],
}


@pytest.mark.parametrize(
    ("old", "new", "parts"), [(old, new, parts) for old, cases in WRONG_PLAN.items() for new, parts in cases]
)
def test_what_is_wrong_in_a_plan(old: str, new: str, parts: list[str], load: Load) -> None:
    assert old in PLANNED
    with pytest.raises(ClaimError) as caught:
        fast(load, PLANNED.replace(old, new))
    message = str(caught.value)
    assert ": claim bn-fast: " in message
    for part in parts:
        assert part in message
    assert "; " in message, "a fix follows the problem"


def test_the_plan_at_its_boundary(load: Load) -> None:
    """The pilot above asks for exactly 16: with one fewer it is refused."""
    assert fast(load, PLANNED).replicates == 16
    with pytest.raises(ClaimError, match=r"`replicates` is 15, the pilot asks for 16 for a firm verdict"):
        fast(load, PLANNED.replace("replicates: 16", "replicates: 15"))
    assert fast(load, PLANNED.replace("replicates: 16", "replicates: 20")).replicates == 20
    # Other statistics are not planned by Student's interval.
    other = PLANNED.replace("replicates: 16", "replicates: 9\n  statistic: median")
    assert fast(load, other).replicates == 9


def test_a_pilot_without_planned_replicates(load: Load) -> None:
    with pytest.raises(ClaimError, match=r"`replicates` is missing \(a `pilot` is there to plan them\)"):
        fast(load, PLANNED.replace("  replicates: 16\n", ""))


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("bn-axis", "replicates: 16"),
        ("bn-time", "pilot: {}"),
        ("bn-cnns", "published: {}"),
        ("bn-cnns", "setting: own"),
        ("bn-cnns", "reach: in small networks"),
    ],
)
def test_what_means_nothing_in_another_kind(name: str, line: str, load: Load) -> None:
    key = line.partition(":")[0]
    with pytest.raises(ClaimError, match=f"claim {name}: `{key}` means nothing in a claim of kind"):
        load(GOOD.replace(f"- id: {name}\n", f"- id: {name}\n  {line}\n"))


def test_one_primary_claim_a_statement(load: Load) -> None:
    assert fast(load, "  unit: steps\n  primary: true\n").primary
    both = GOOD.replace("  unit: log ratio\n", "  unit: log ratio\n  primary: true\n  covers: [bn-fast]\n")
    assert load(both)["bn-time"].primary
    with pytest.raises(ClaimError, match="claims bn-fast and bn-time are both primary for statement bn-fast"):
        load(both.replace("  unit: steps\n", "  unit: steps\n  primary: true\n"))
    with pytest.raises(ClaimError, match="bn-time: `primary` in a claim that covers no statement; name it"):
        load(both.replace("  covers: [bn-fast]\n", ""))
