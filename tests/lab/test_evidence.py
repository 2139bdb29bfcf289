"""From values to an output: what `check` shows, and what it does when a result is verified."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_data import toy

from surveylab import lab
from surveylab.claims import (
    EvidenceError,
    RecordError,
    evidence_of,
    judge,
    recompute,
    render_markdown,
    render_text,
)
from surveylab.lab import session

Begin = Callable[..., lab.Run]
Shown = list[dict[str, Any]]
GAINS = 3 + torch.randn(24, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def notebook(shown: Shown) -> dict[str, Any]:
    """What was shown so far, as an executed notebook."""
    return {"cells": [{"cell_type": "code", "outputs": json.loads(json.dumps(shown))}], "metadata": {}}


def check_all(gains: Any = GAINS) -> None:
    lab.check("gain", gains, data=toy())
    lab.check("exact", torch.full((20,), 1e-6))
    lab.check("cost", torch.linspace(0.4, 0.6, 15))
    lab.check("known")


def test_the_output_is_the_record_of_the_press(begin: Begin, shown: Shown) -> None:
    run = begin(seed=4)
    check_all()
    assert recompute(run.claims, notebook(shown)) == []
    evidence = evidence_of(notebook(shown))
    assert evidence == run.evidence
    verdicts = {name: found.verdict for name, found in evidence.items()}
    assert verdicts == {"gain": "supported", "exact": "supported", "cost": "supported", "known": "cited"}
    gain = evidence["gain"]
    assert gain.values == GAINS.view(3, 8).tolist()  # to the last digit, population by population
    assert (gain.profile, gain.seed, gain.data) == ("standard", 4, {"name": "toy", "sha256": "0" * 64})
    assert gain.estimate == pytest.approx(float(GAINS.mean()))
    expected = judge(run.claims["gain"], GAINS.view(3, 8).numpy(), profile="standard", seed=4, data=gain.data)
    assert shown[1] == {
        "output_type": "display_data",
        "data": {
            "text/plain": render_text(expected),
            "text/markdown": render_markdown(run.claims["gain"], expected),
        },
        "metadata": {"surveylab": expected.to_metadata()},
    }
    assert shown[1]["data"]["text/plain"] == "gain: supported"


@pytest.mark.parametrize(
    "given",
    [
        GAINS.view(3, 8),
        GAINS.clone().requires_grad_(),
        GAINS.numpy(),
        GAINS.tolist(),
        GAINS.view(3, 8).tolist(),
        np.asfortranarray(GAINS.view(3, 8).numpy()),
    ],
    ids=["populations", "with gradient", "array", "list", "nested list", "other memory layout"],
)
def test_values_keep_every_digit_however_given(begin: Begin, given: Any) -> None:
    run = begin()
    lab.check("gain", given)
    assert run.evidence["gain"].values == GAINS.view(3, 8).tolist()


def test_smoke_decides_nothing(begin: Begin, shown: Shown) -> None:
    run = begin(profile="smoke")
    lab.check("gain", torch.full((6,), 50.0))
    lab.check("exact", torch.tensor([1.0]))
    assert [e.verdict for e in run.evidence.values()] == ["not-decided", "not-decided"]
    assert shown[1]["data"]["text/plain"] == "gain: not-decided"


def test_unknown_and_misplaced_claims(begin: Begin, shown: Shown) -> None:
    begin()
    with pytest.raises(KeyError, match=r"claim 'gian' is not in book/claims/; did you mean 'gain'\?"):
        lab.check("gian", GAINS)
    with pytest.raises(KeyError, match=r"claim 'zzz' is not in book/claims/\"$"):
        lab.check("zzz", GAINS)
    with pytest.raises(ValueError, match="'elsewhere' belongs to demo/two; this run is demo/one"):
        lab.check("elsewhere", torch.zeros(20))
    with pytest.raises(ValueError, match=r"claim gain: values must be one a replicate, .* got shape \(23,\)"):
        lab.check("gain", GAINS[:23])
    with pytest.raises(EvidenceError, match=r"gain: .* not finite.* population 1, replicate 2"):
        lab.check("gain", torch.where(torch.arange(24) == 10, torch.nan, GAINS))
    assert len(shown) == 1


def an_arm(*, steps: int, rate: float) -> lab.Trained:
    """An arm that has learnt little or much of 20 random pictures."""
    comparison = lab.Comparison(
        toy(dtype=torch.float32), lab.make_streams(0, 8), 4 * steps, [0.01, 0.1, 1.0], 20, 5, 10
    )
    build = lambda: torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 3))  # noqa: E731
    return comparison.run("arm", lab.Arm(build, 4), settings=[{"rate": rate}])


def recorded(output: Any) -> Any:
    return evidence_of({"cells": [{"cell_type": "code", "outputs": [output]}]})["gain"]


def test_guard_map_and_clusters_are_kept_with_the_evidence(begin: Begin, shown: Shown) -> None:
    begin()
    lab.check("gain", GAINS, guard={4: GAINS[:8], 0.25: GAINS[8:16]}, scope_map=[({"width": 8}, GAINS[:8])])
    lab.check("gain", GAINS, guard={4: -GAINS[:8], 0.25: GAINS[8:16]})
    lab.check("gain", GAINS, clusters=[[r % 4 for r in range(8)]] * 3)
    lab.check("gain", GAINS, clusters=[r % 4 for r in range(8)] * 3)
    holds, goes, clustered, flat = (recorded(output) for output in shown[1:])
    assert holds.verdict == "supported"
    assert [cell.at for cell in holds.guard] == [{"budget": 0.25}, {"budget": 4.0}]
    assert holds.guard[1].values == GAINS[:8].tolist()
    (cell,) = holds.map
    assert (cell.at, cell.estimate) == ({"width": 8}, pytest.approx(float(GAINS[:8].mean())))
    assert (goes.verdict, goes.reason) == ("inconclusive", "a matter of budget")
    assert clustered.clusters == [[0, 1, 2, 3] * 2] * 3 and clustered.low != holds.low
    assert flat == clustered
    with pytest.raises(EvidenceError, match="one label a value"):
        lab.check("gain", GAINS, clusters=[0, 1])
    with pytest.raises(EvidenceError, match=r"the guard needs a budget of at most 0\.5"):
        lab.check("gain", GAINS, guard={4: GAINS[:8]})
    with pytest.raises(
        EvidenceError, match=r"at width 8: values of shape \(7,\); a setting needs \(n,\) with n >= 8"
    ):
        lab.check("gain", GAINS, scope_map=[({"width": 8}, GAINS[:7])])


def test_an_arm_stands_beside_chance_and_its_tasks_baseline(begin: Begin, shown: Shown) -> None:
    begin()
    rates = [0.01, 0.1, 1.0]
    svm = lab.BASELINES["digits"][1]
    data, streams = lab.digits().standardised(), lab.make_streams(0, 8)
    digits = lab.Comparison(data, streams, 640, rates, 1000, 300, 400, baseline=svm)
    build = lambda: torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))  # noqa: E731
    arm = digits.run("arm", lab.Arm(build), settings=[{"rate": 0.01}])
    lab.check("gain", GAINS, arms={"arm": arm})
    found = recorded(shown[1]).arms["arm"]
    assert (found.chance, found.baseline.name, found.baseline.score) == (10.0, "RBF SVM", 99.1)


def test_what_an_arm_did_is_kept_with_the_evidence(begin: Begin, shown: Shown) -> None:
    run = begin()
    good, poor = an_arm(steps=300, rate=0.1), an_arm(steps=40, rate=0.001)
    lab.check("gain", GAINS, data=toy(), arms={"good": good})
    lab.check("gain", GAINS, data=toy(), arms={"good": good, "poor": poor})
    first, second = (
        evidence_of({"cells": [{"cell_type": "code", "outputs": [o]}]})["gain"] for o in shown[1:]
    )
    assert (first.verdict, first.reason) == ("supported", None)
    assert (second.verdict, second.reason) == ("inconclusive", "undertrained")
    assert second.arms is not None and set(second.arms) == {"good", "poor"}
    arm: Any = second.arms["good"]
    other: Any = second.arms["poor"]
    assert np.asarray(arm.values).ravel().tolist() == good.score.tolist()
    assert np.asarray(arm.loss).ravel().tolist() == good.training_loss.tolist()
    assert np.mean(arm.accuracy) > 95 > np.mean(other.accuracy)
    assert np.shape(arm.curve) == (32, 2) and arm.curve[-1][0] == 300
    losses = good.history.losses.double().mean(1)
    assert arm.curve[0][1] == pytest.approx(float(losses[:10].mean()), rel=1e-5)
    only = {"gain": run.claims["gain"]}
    assert recompute(only, notebook([shown[0], shown[2]])) == []
    shown[2]["metadata"]["surveylab"]["arms"]["poor"]["accuracy"] = [[100.0] * 8] * 3
    assert any("reason" in line for line in recompute(only, notebook([shown[0], shown[2]])))


def test_an_arm_with_another_score_than_the_accuracy_is_judged_by_its_curve(
    begin: Begin, shown: Shown
) -> None:
    begin()
    comparison = lab.Comparison(
        toy(dtype=torch.float32),
        lab.make_streams(0, 8),
        400,
        [0.01, 0.1, 1.0],
        20,
        5,
        10,
        metric=lambda population, split, index: -lab.mean_loss(population, split, index),
    )
    build = lambda: torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 3))  # noqa: E731
    trained = comparison.run("arm", lab.Arm(build, 4), settings=[{"rate": 0.1}])
    lab.check("gain", GAINS, arms={"arm": trained})
    (found,) = shown[-1]["metadata"]["surveylab"]["arms"].values()
    assert found["accuracy"] is None and len(found["curve"]) == 32


@pytest.mark.parametrize("begun", [True, False])
def test_a_question_of_ones_own_has_an_estimate_and_no_verdict(
    begin: Begin, shown: Shown, begun: bool
) -> None:
    if begun:
        lab.begin()
    lab.check("mine", torch.tensor([1.0, 2.0, 3.0, 2.0]))
    # Student's t with 3 degrees of freedom: 2 ± 5.841 · 0.8165 / 2.
    text = (
        "mine: 2.00 [−0.385, 4.38], mean and 99 % interval of 4 values; not registered, so without a verdict"
    )
    assert shown[-1]["data"] == {"text/plain": text} and shown[-1]["metadata"] == {}
    with pytest.raises(ValueError, match="mine: values must be at least two, one a replicate; got 1"):
        lab.check("mine", [1.0])
    with pytest.raises(ValueError, match="mine: values must be given"):
        lab.check("mine")


def test_prose_and_code_and_summary(begin: Begin, shown: Shown) -> None:
    begin()
    check_all()
    del shown[:]
    lab.show_text("It gains **3 points**.")
    prose = shown.pop()["data"]
    assert prose["text/markdown"].startswith("It gains **3 points**.")
    assert prose["text/plain"] == "computed text"  # numbers that differ by machine are not compared
    lab.show_source(lab.cross_entropy)
    code = shown.pop()["data"]["text/markdown"]
    assert code.startswith("```python\ndef cross_entropy(logits") and "F.cross_entropy" in code
    assert "Mean cross-entropy" not in code
    lab.summary()
    rows = shown.pop()["data"]["text/markdown"].splitlines()[2:]
    assert len(rows) == 4
    assert rows[0].startswith("| `gain` | ✓ supported | +") and "points" in rows[0]
    assert "Rests on the literature" in rows[3]


# ----------------------------------------------------------------------------------------------- verification


@pytest.fixture
def published(root: Path, begin: Begin, shown: Shown, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A published chapter, with the run about to be verified."""
    begin()
    check_all()
    path = root / "book" / "demo" / "one.ipynb"
    path.parent.mkdir()
    path.write_text(json.dumps(notebook(shown)), encoding="utf-8")
    del shown[:]
    monkeypatch.setenv("SURVEYLAB_VERIFY", "1")
    return path


def other_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_processor", lambda: "another")


def test_equal_values_are_reproduced(published: Path, begin: Begin, shown: Shown) -> None:
    run = begin()
    check_all()
    assert recompute(run.claims, notebook(shown)) == []
    assert evidence_of(notebook(shown)) == evidence_of(json.loads(published.read_text()))


def test_on_this_machine_a_last_digit_tells(published: Path, begin: Begin, shown: Shown) -> None:
    begin()
    with pytest.raises(lab.NotReproducedError, match="gain: 24 of 24 values differ on the same machine"):
        check_all(GAINS * (1 + 1e-15))
    assert len(shown) == 1


def test_elsewhere_the_published_evidence_is_shown(
    published: Path, begin: Begin, shown: Shown, monkeypatch: pytest.MonkeyPatch
) -> None:
    other_machine(monkeypatch)
    run = begin()
    check_all(GAINS.flip(0) + 0.01)
    kept = evidence_of(json.loads(published.read_text()))
    assert evidence_of(notebook(shown)) == kept == run.evidence


def test_elsewhere_another_result_is_not_reproduced(
    published: Path, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    other_machine(monkeypatch)
    begin()
    with pytest.raises(
        lab.NotReproducedError, match=r"gain: the verdict was published as supported .* opposite"
    ):
        check_all(-GAINS)
    with pytest.raises(lab.NotReproducedError, match=r"gain: 24 of 24 replicates .* more than chance"):
        check_all(GAINS + 2)
    with pytest.raises(lab.NotReproducedError, match="exact: the verdict was published as supported"):
        lab.check("exact", torch.full((20,), 1e-3))


def test_smoke_verifies_nothing(published: Path, begin: Begin) -> None:
    published.unlink()
    begin(profile="smoke")
    lab.check("gain", torch.zeros(6))


def test_nothing_published(published: Path, begin: Begin, shown: Shown) -> None:
    begin()
    bare: dict[str, Any] = {"cells": [], "metadata": {}}
    for text, error, message in [
        (json.dumps(bare), lab.NotReproducedError, "gain: the published chapter does not carry this claim"),
        ("{", RecordError, "not JSON"),
        ("[]", RecordError, "not a notebook"),
    ]:
        published.write_text(text, encoding="utf-8")
        with pytest.raises(error, match=message):
            check_all()
    published.unlink()
    with pytest.raises(RecordError, match="there is no such notebook"):
        check_all()
    assert len(shown) == 1
