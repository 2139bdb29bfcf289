"""The record in a published notebook: found, read, and recomputed so that no tampering passes."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from surveylab.claims import (
    Arm,
    Claim,
    RecordError,
    chapters,
    evidence_of,
    find_root,
    judge,
    provenance_of,
    published_path,
    read_notebook,
    recompute,
    refresh,
    render_markdown,
    render_text,
    run_of,
    same_machine,
    source_path,
)

Make = Callable[..., Claim]
DATA = {"name": "digits", "sha256": "ab" * 32}
RUN = {"chapter": "normalization/batch_norm", "profile": "standard", "seed": 0, "device": "cpu"}


def display(plain: str, said: str | None, record: dict[str, Any]) -> dict[str, Any]:
    data: dict[str, Any] = {"text/plain": [plain]}
    if said is not None:
        data["text/markdown"] = said.splitlines(keepends=True)
    return {"output_type": "display_data", "data": data, "metadata": {"surveylab": record}}


@pytest.fixture
def claims(make: Make) -> dict[str, Claim]:
    """One claim of each kind, one that only the full edition checks, and one of another chapter."""
    return {
        claim.id: claim
        for claim in (
            make(id="bn-fast", scope="a small network"),
            make("identity", id="bn-axis", margin=1e-5),
            make("measurement", id="bn-time", margin=0.05),
            make("source", id="bn-cnns"),
            make(id="bn-sign", statistic="sign", margin=0.25),
            make(id="bn-deep", profile="full"),
            make(id="ln-axis", chapter="normalization/layer_norm"),
        )
    }


@pytest.fixture
def nb(claims: dict[str, Claim]) -> dict[str, Any]:
    """A published notebook, as the lab and the press leave it."""
    rng = np.random.default_rng(1)
    values = {
        "bn-fast": rng.normal(5, 1, (3, 8)),
        "bn-axis": rng.random(20) * 1e-6,
        "bn-time": rng.normal(0.5, 0.02, 15),
        "bn-cnns": None,
        "bn-sign": np.sign(rng.normal(2, 1, (3, 8))),
    }
    cells: list[dict[str, Any]] = [
        {"cell_type": "markdown", "source": "# Batch Norm", "metadata": {}},
        {"cell_type": "code", "outputs": [display("standard: 3 x 8 replicates", None, {"run": RUN})]},
    ]
    for name, sample in values.items():
        data = None if sample is None else DATA
        evidence = judge(claims[name], sample, profile="standard", seed=0, data=data)
        output = display(
            render_text(evidence), render_markdown(claims[name], evidence), evidence.to_metadata()
        )
        cells.append({"cell_type": "code", "outputs": [{"output_type": "stream", "text": "x"}, output]})
    provenance = {"fingerprint": "f" * 64, "data": {"digits": DATA["sha256"]}}
    notebook = {"cells": cells, "metadata": {"surveylab": provenance}, "nbformat": 4, "nbformat_minor": 5}
    return dict(json.loads(json.dumps(notebook)))


def output_of(nb: dict[str, Any], name: str) -> dict[str, Any]:
    for cell in nb["cells"]:
        for output in cell.get("outputs", []):
            if output.get("metadata", {}).get("surveylab", {}).get("claim") == name:
                found: dict[str, Any] = output
                return found
    raise AssertionError(name)


def record_of(nb: dict[str, Any], name: str) -> dict[str, Any]:
    record: dict[str, Any] = output_of(nb, name)["metadata"]["surveylab"]
    return record


def test_an_honest_notebook_recomputes(claims: dict[str, Claim], nb: dict[str, Any]) -> None:
    assert recompute(claims, nb) == []
    assert recompute(claims, nb, chapter="normalization/batch_norm") == []
    assert list(evidence_of(nb)) == ["bn-fast", "bn-axis", "bn-time", "bn-cnns", "bn-sign"]
    assert evidence_of(nb)["bn-fast"].verdict == "supported"
    assert run_of(nb) == RUN
    assert provenance_of(nb)["fingerprint"] == "f" * 64


NAMES = ["bn-fast", "bn-axis", "bn-time", "bn-sign"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("field", ["estimate", "margin"])
def test_a_tampered_number(name: str, field: str, claims: dict[str, Claim], nb: dict[str, Any]) -> None:
    record = record_of(nb, name)
    before = record[field]
    record[field] = before * (1 + 1e-6)
    found = recompute(claims, nb)
    assert f"{name}: {field}: published {record[field]!r}, recomputed {before!r}" in found


@pytest.mark.parametrize("name", ["bn-fast", "bn-time", "bn-sign"])
@pytest.mark.parametrize("field", ["low", "high", "level", "detectable"])
def test_a_tampered_interval(name: str, field: str, claims: dict[str, Claim], nb: dict[str, Any]) -> None:
    record_of(nb, name)[field] += 1e-6
    assert any(f"{name}: {field}: published" in line for line in recompute(claims, nb))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("verdict", "negligible"),
        ("unit", "points"),
        ("direction", "equivalent"),
        ("statistic", "sign"),
        ("replicates", [3, 64]),
        ("kind", "measurement"),
        ("low", None),
        ("estimate", "5"),
        ("estimate", math.nan),
    ],
)
def test_a_tampered_field(field: str, value: Any, claims: dict[str, Claim], nb: dict[str, Any]) -> None:
    record_of(nb, "bn-fast")[field] = value
    assert any(f"bn-fast: {field}: published {value!r}" in line for line in recompute(claims, nb))


def test_a_tampered_value(claims: dict[str, Claim], nb: dict[str, Any]) -> None:
    record_of(nb, "bn-fast")["values"][1][4] += 0.01
    found = recompute(claims, nb)
    assert any(line.startswith("bn-fast: estimate: ") for line in found)
    assert any(line.startswith("bn-fast: low: ") for line in found)


@pytest.mark.parametrize("bad", [[[1.0]], None, "x", [[math.nan] * 8] * 3, {"a": 1}])
def test_values_that_cannot_be_judged(bad: Any, claims: dict[str, Claim], nb: dict[str, Any]) -> None:
    record_of(nb, "bn-fast")["values"] = bad
    found = recompute(claims, nb)
    assert any("bn-fast: the published values cannot be judged" in line for line in found)


def test_a_margin_changed_in_the_claims(claims: dict[str, Claim], nb: dict[str, Any]) -> None:
    claims["bn-fast"] = dataclasses.replace(claims["bn-fast"], margin=4.9)
    found = recompute(claims, nb)
    assert "bn-fast: margin: published 1.0, recomputed 4.9" in found
    assert any(line.startswith("bn-fast: verdict: published 'supported'") for line in found)


def test_tampered_text(claims: dict[str, Claim], nb: dict[str, Any]) -> None:
    output_of(nb, "bn-fast")["data"]["text/plain"] = "bn-fast: contradicted"
    expected = "bn-fast: text/plain: published 'bn-fast: contradicted', recomputed 'bn-fast: supported'"
    assert recompute(claims, nb) == [expected]


@pytest.mark.parametrize(
    ("old", "new"), [("✓ supported", "✗ contradicted"), ("bn-fast", "bn-slow"), ("+", "−")]
)
def test_a_tampered_verdict_or_number(
    old: str, new: str, claims: dict[str, Claim], nb: dict[str, Any]
) -> None:
    data = output_of(nb, "bn-fast")["data"]
    data["text/markdown"] = "".join(data["text/markdown"]).replace(old, new, 1)
    (found,) = recompute(claims, nb)
    assert found.startswith("bn-fast: text/markdown: published") and new in found
    assert refresh(claims, nb) == 0, "a refresh must not hide tampering"


def test_an_output_of_an_earlier_edition_is_brought_up_to_date(
    claims: dict[str, Claim], nb: dict[str, Any]
) -> None:
    data = output_of(nb, "bn-fast")["data"]
    del data["text/markdown"]
    data["text/html"] = "<article>as it was</article>"
    wording, besides = recompute(claims, nb)
    assert "refresh it" in wording and "it also shows text/html" in besides
    assert refresh(claims, nb) == 1
    assert recompute(claims, nb) == [] and "text/html" not in data


def test_wording_is_refreshed_without_a_run(claims: dict[str, Claim], nb: dict[str, Any]) -> None:
    claims["bn-fast"] = dataclasses.replace(
        claims["bn-fast"], says="Better <said>.", why="A & B.", note="New.", scope=None
    )
    assert recompute(claims, nb) == [
        "bn-fast: text/markdown: the wording is not that of the claims; refresh it"
    ]
    before = copy.deepcopy(record_of(nb, "bn-fast"))
    assert refresh(claims, nb) == 1
    assert recompute(claims, nb) == []
    assert record_of(nb, "bn-fast") == before
    assert refresh(claims, nb) == 0


def test_a_refresh_leaves_tampered_evidence_alone(claims: dict[str, Claim], nb: dict[str, Any]) -> None:
    claims["bn-fast"] = dataclasses.replace(claims["bn-fast"], says="Better said.")
    record_of(nb, "bn-fast")["verdict"] = "contradicted"
    before = copy.deepcopy(nb)
    assert refresh(claims, nb) == 0
    assert nb == before


def test_rounding_of_another_processor_is_not_tampering(claims: dict[str, Claim], nb: dict[str, Any]) -> None:
    record = record_of(nb, "bn-fast")
    for field in ("estimate", "low", "high", "detectable"):
        record[field] = math.nextafter(record[field], math.inf)
    assert recompute(claims, nb) == []


def test_a_last_bit_that_flips_a_printed_digit_is_not_tampering(make: Make) -> None:
    """A mean of exactly 2.125 prints as 2.12; summed elsewhere, a bit higher, it prints as 2.13."""
    claim = make()
    values = 2.125 + np.tile([-0.5, -0.25, -0.125, 0.0, 0.0, 0.125, 0.25, 0.5], (3, 1))
    here = judge(claim, values, profile="standard", seed=0, data=None)
    assert here.estimate == 2.125
    there = dataclasses.replace(here, estimate=math.nextafter(2.125, 3.0))
    card = render_markdown(claim, there)
    assert "+2.13" in card
    assert "+2.13" not in render_markdown(claim, here)
    cells = [
        {"outputs": [display("standard", None, {"run": RUN})]},
        {"outputs": [display(render_text(there), card, there.to_metadata())]},
    ]
    assert recompute({claim.id: claim}, {"cells": cells}) == []


def test_claims_and_chapters_that_do_not_fit(claims: dict[str, Claim], nb: dict[str, Any]) -> None:
    found = recompute({k: v for k, v in claims.items() if k != "bn-time"}, nb)
    assert found == ["bn-time: checked in the notebook, but there is no such claim"]
    unchecked = dict(claims, **{"bn-new": dataclasses.replace(claims["bn-fast"], id="bn-new")})
    assert recompute(unchecked, nb) == ["bn-new: a claim of this chapter that the notebook does not check"]
    moved = dict(claims)
    moved["bn-fast"] = dataclasses.replace(claims["bn-fast"], chapter="normalization/layer_norm")
    expected = (
        "bn-fast: checked in chapter normalization/batch_norm, but it belongs to normalization/layer_norm"
    )
    assert recompute(moved, nb) == [expected]
    found = recompute(claims, nb, chapter="normalization/layer_norm")
    assert (
        found[0]
        == "the notebook of chapter normalization/layer_norm says that it ran 'normalization/batch_norm'"
    )
    assert "ln-axis: a claim of this chapter that the notebook does not check" in found


def test_only_the_full_edition_owes_a_claim_of_profile_full(
    claims: dict[str, Claim], nb: dict[str, Any]
) -> None:
    nb["cells"][1]["outputs"][0]["metadata"]["surveylab"]["run"]["profile"] = "full"
    found = recompute(claims, nb)
    assert "bn-deep: a claim of this chapter that the notebook does not check" in found
    assert "bn-fast: profile: published 'standard', the run 'full'" in found


def test_seed_and_data_against_run_and_provenance(claims: dict[str, Claim], nb: dict[str, Any]) -> None:
    record_of(nb, "bn-axis")["seed"] = 1
    nb["metadata"]["surveylab"]["data"]["digits"] = "cd" * 32
    found = recompute(claims, nb)
    assert "bn-axis: seed: published 1, the run 0" in found
    assert f"bn-fast: data: published {'ab' * 32!r}, provenance {'cd' * 32!r}" in found


def test_a_notebook_without_its_run(claims: dict[str, Claim], nb: dict[str, Any]) -> None:
    nb["cells"][1]["outputs"] = []
    assert run_of(nb) is None
    assert recompute(claims, nb)[0].startswith("the notebook does not say what it ran")


def test_a_claim_checked_twice(claims: dict[str, Claim], nb: dict[str, Any]) -> None:
    nb["cells"].append(copy.deepcopy(nb["cells"][2]))
    with pytest.raises(RecordError, match="bn-fast: checked twice"):
        evidence_of(nb)
    assert recompute(claims, nb) == ["bn-fast: checked twice in one notebook; keep one check"]


def test_a_record_with_a_field_missing(claims: dict[str, Claim], nb: dict[str, Any]) -> None:
    del record_of(nb, "bn-fast")["values"]
    with pytest.raises(RecordError, match="bn-fast: not evidence: fields missing: values"):
        evidence_of(nb)
    assert len(recompute(claims, nb)) == 1


@pytest.mark.parametrize("cell", [None, 3, {}, {"outputs": 1}, {"outputs": [None, {"metadata": []}]}])
def test_strange_cells_hold_no_record(cell: Any) -> None:
    nb = {"cells": [cell], "metadata": None}
    assert evidence_of(nb) == {}
    assert run_of(nb) is None
    assert provenance_of(nb) == {}


def test_same_machine() -> None:
    here = {"machine": {"processor": "p", "threads": 2}, "versions": {"torch": "2.13.0"}, "seed": 0}
    assert same_machine(here, dict(here, seed=1))
    assert not same_machine(here, dict(here, versions={"torch": "2.12.0"}))
    assert not same_machine(here, dict(here, machine={"processor": "p", "threads": 1}))
    assert not same_machine({}, {})
    assert not same_machine(here, {})


def test_reading_what_is_not_a_notebook(tmp_path: Path) -> None:
    path = tmp_path / "a.ipynb"
    cases = {
        b"{": "not a notebook: not JSON",
        b"\xff": "not a notebook: not UTF-8 at byte 0",
        b"[1]": "JSON, but not a notebook: it has no list of cells",
        b'{"cells": {}}': "has no list of cells",
        b"[" * 200_000: "not a notebook",
    }
    with pytest.raises(RecordError, match=r"a\.ipynb: there is no such notebook"):
        read_notebook(path)
    for content, message in cases.items():
        path.write_bytes(content)
        with pytest.raises(RecordError, match=r"a\.ipynb.*" + message):
            read_notebook(path)
    with pytest.raises(RecordError, match="cannot be read"):
        read_notebook(tmp_path)
    path.write_text('{"cells": []}')
    assert read_notebook(path) == {"cells": []}


def test_finding_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SURVEYLAB_ROOT", raising=False)
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    for folder in (project / "book" / "normalization", project / "notebooks" / "normalization", elsewhere):
        folder.mkdir(parents=True)
    (project / "book" / "claims").mkdir()
    assert find_root(project / "book" / "normalization") == project.resolve()
    monkeypatch.chdir(project / "notebooks")
    assert find_root() == project.resolve()
    assert (find_root(elsewhere) / "book" / "claims").is_dir()  # the project this package lies in
    monkeypatch.setattr("surveylab.claims.record.__file__", str(elsewhere / "record.py"))
    with pytest.raises(RecordError, match=r"no folder book/claims in .* set SURVEYLAB_ROOT"):
        find_root(elsewhere)
    # What an installed package carries will do only for who asks: nothing can be published from it.
    with pytest.raises(RecordError, match=r"no folder book/claims"):
        find_root(elsewhere, packaged=True)
    monkeypatch.setattr("surveylab.claims.record.PACKAGED", project)
    assert find_root(elsewhere, packaged=True) == project
    with pytest.raises(RecordError, match=r"no folder book/claims"):
        find_root(elsewhere)
    monkeypatch.setenv("SURVEYLAB_ROOT", str(project))
    assert find_root(elsewhere) == project.resolve()
    monkeypatch.setenv("SURVEYLAB_ROOT", str(elsewhere))
    with pytest.raises(RecordError, match=r"SURVEYLAB_ROOT is .* correct or unset it"):
        find_root(project)


def test_where_chapters_lie(tmp_path: Path) -> None:
    names = ["transfer/b", "normalization/a", "normalization/.ipynb_checkpoints/a-checkpoint"]
    for name in names:
        path = source_path(tmp_path, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    assert chapters(tmp_path) == ["normalization/a", "transfer/b"]
    assert source_path(tmp_path, "normalization/a") == tmp_path / "notebooks" / "normalization" / "a.ipynb"
    assert published_path(tmp_path, "normalization/a") == tmp_path / "book" / "normalization" / "a.ipynb"
    full = tmp_path / "book" / "full" / "normalization" / "a.ipynb"
    assert published_path(tmp_path, "normalization/a", "full") == full
    assert chapters(tmp_path / "nowhere") == []


# ----------------------------------------------------------------------------------- version 2 of the rules


FITTED = Arm([[60.0] * 8] * 3, accuracy=[[99.0] * 8] * 3)


@pytest.fixture
def rich(claims: dict[str, Claim], nb: dict[str, Any]) -> dict[str, Any]:
    """The notebook, its first claim with all that can stand beside the values."""
    values = np.random.default_rng(2).normal(5, 1, (3, 8))
    evidence = judge(
        claims["bn-fast"],
        values,
        profile="standard",
        seed=0,
        data=DATA,
        clusters=np.arange(24).reshape(3, 8) % 6,
        arms={"BN": FITTED},
        guard={0.5: values[0] - 1, 2: values[0] + 1},
        scope_map=[({"data": "fashion"}, values[1])],
    )
    output = display(
        render_text(evidence), render_markdown(claims["bn-fast"], evidence), evidence.to_metadata()
    )
    output_of(nb, "bn-fast").update(json.loads(json.dumps(output)))
    return nb


def test_all_that_stands_beside_the_values_recomputes(claims: dict[str, Claim], rich: dict[str, Any]) -> None:
    assert recompute(claims, rich) == []
    assert evidence_of(rich)["bn-fast"].arms == {"BN": FITTED}


TAMPERED: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "firmness": (lambda r: r.update(firmness=0.95), "bn-fast: firmness: published 0.95"),
    "reason": (lambda r: r.update(reason="open"), "bn-fast: reason: published 'open', recomputed None"),
    "edition": (lambda r: r.update(edition=2), "bn-fast: edition: published 2, recomputed 0"),
    "an arm": (
        lambda r: r["arms"]["BN"].update(accuracy=[[60.0] * 8] * 3),
        "'supported', recomputed 'inconc",
    ),
    "a smaller guard": (lambda r: r["guard"].pop(0), "cannot be judged: .* a budget of at most 0.5"),
    "a guard's values": (lambda r: r["guard"][1].update(values=[1.0] * 8), "recomputed 'inconclusive'"),
    "a guard's estimate": (
        lambda r: r["guard"][1].update(estimate=9.0),
        r"guard at {'budget': 2.0}: estimate",
    ),
    "the map's estimate": (
        lambda r: r["map"][0].update(estimate=9.0),
        r"map at {'data': 'fashion'}: estimate",
    ),
    "the map's interval": (lambda r: r["map"][0].update(low=None), r"map at {'data': 'fashion'}: low"),
    "the clusters": (lambda r: r.update(clusters=None), "bn-fast: low: published"),
    "the version alone": (lambda r: r.update(rules=1), "cannot be judged: .* by version 1 of the rules"),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_tampering_with_what_stands_beside(case: str, claims: dict[str, Claim], rich: dict[str, Any]) -> None:
    change, message = TAMPERED[case]
    change(record_of(rich, "bn-fast"))
    assert re.search(message, " | ".join(recompute(claims, rich)))


@pytest.mark.parametrize("budgets", [[0.999, 1.001], [0.6, 2], [0.5, 1.9]])
def test_a_guard_too_near_guards_against_nothing(
    budgets: list[float], claims: dict[str, Claim], rich: dict[str, Any]
) -> None:
    evidence = output_of(rich, "bn-fast")["metadata"]["surveylab"]
    for cell, budget in zip(evidence["guard"], budgets, strict=True):
        cell["at"]["budget"] = budget
    shown = ", ".join(f"{budget:g}" for budget in budgets)
    (found,) = recompute(claims, rich)
    assert "bn-fast: the published values cannot be judged" in found
    assert f"a budget of at most 0.5 and one of at least 2 of the run's; got {shown}" in found
