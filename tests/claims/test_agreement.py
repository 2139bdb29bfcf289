"""When a second run reproduces the first: to the digit on one machine, pairwise up to chance elsewhere."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from example_claims import run
from scipy import stats

from surveylab.claims import (
    Arm,
    Claim,
    Evidence,
    agreement,
    arithmetic,
    changed_reason,
    changed_verdict,
    outliers,
)
from surveylab.claims.reproduction import foreign, moved_far, paired_p, relation

Make = Callable[..., Claim]
Draw = Callable[..., np.ndarray]


def compare(a: Evidence, b: Evidence, *, same_machine: bool, comparisons: int = 11) -> str | None:
    return agreement(a, b, same_machine=same_machine, comparisons=comparisons)


def test_the_same_run_agrees(make: Make, draw: Draw) -> None:
    for kind, values in {"experiment": draw(5.0), "identity": np.zeros(20), "source": None}.items():
        evidence = run(make(kind), values)
        for same in (True, False):
            assert compare(evidence, evidence, same_machine=same) is None


@pytest.mark.parametrize("kind", ["experiment", "identity"])
def test_one_last_digit_on_the_same_machine(kind: str, make: Make, draw: Draw) -> None:
    values = draw(5.0) if kind == "experiment" else np.full(20, 1e-3)
    other = values.copy()
    place = (2, 3) if kind == "experiment" else (3,)
    other[place] = math.nextafter(other[place], math.inf)
    a, b = run(make(kind), values), run(make(kind), other)
    message = compare(a, b, same_machine=True)
    assert message is not None
    assert message.startswith("bn-fast: 1 of ")
    assert ("population 2, replicate 3" if kind == "experiment" else "value 3") in message
    assert repr(float(values[place])) in message
    assert repr(float(other[place])) in message
    assert compare(a, b, same_machine=False) is None


def amplified(values: np.ndarray, spread: float, seed: int = 3) -> np.ndarray:
    """What another machine makes of the same replicates: each moves, by chance, in no direction."""
    noise = np.random.default_rng(seed).standard_normal(values.shape)
    return values + spread * (noise - noise.mean())


def test_another_machine_may_move_every_replicate_but_not_all_in_one_direction(
    make: Make, draw: Draw
) -> None:
    """The table of failures: 0.8 added to every value. The values themselves spread by 3."""
    values = draw(5.0, 3.0)
    published = run(make(margin=0.1), values)
    again = amplified(values, 0.5)
    assert compare(published, run(make(margin=0.1), again), same_machine=False) is None
    forged = run(make(margin=0.1), values + 0.8)
    message = compare(forged, run(make(margin=0.1), again), same_machine=False, comparisons=100)
    assert message is not None
    assert message.startswith("bn-fast: 24 of 24 replicates differ, on average by -0.8 (published mean ")
    assert "by more than chance (paired t-test, p = " in message and "100 compared" in message
    # An unpaired test does not see it.
    assert stats.ttest_ind((values + 0.8).ravel(), again.ravel(), equal_var=False).pvalue > 0.1
    # Added on the same arithmetic, a shift needs no test.
    assert compare(forged, published, same_machine=False, comparisons=10**6) is not None


@pytest.mark.parametrize("comparisons", [1, 11, 74])
def test_the_paired_test_at_its_boundary(comparisons: int, make: Make, draw: Draw) -> None:
    """The shift at which SciPy's p crosses 0.01 / comparisons is the shift at which the alarm sounds."""
    values, margin = draw(5.0), 1e-3
    published, base = run(make(margin=margin), values), amplified(values, 2.0)
    near, far = 0.0, 50.0
    for _ in range(60):
        middle = (near + far) / 2
        p = stats.ttest_rel((base + middle).ravel(), values.ravel()).pvalue
        near, far = (middle, far) if p >= 0.01 / comparisons else (near, middle)
    for shift, quiet in ((near - 1e-6, True), (far + 1e-6, False)):
        again = run(make(margin=margin), base + shift)
        said = compare(published, again, same_machine=False, comparisons=comparisons)
        assert (said is None) is quiet


def jumps(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Most replicates do not move at all; a few jump."""
    return np.where(rng.random(shape) < 0.15, rng.standard_normal(shape) * 3, 0.0)


@pytest.mark.parametrize(
    "noise",
    [
        lambda rng, shape: rng.standard_normal(shape),
        lambda rng, shape: rng.standard_t(3, shape),
        lambda rng, shape: np.round(rng.standard_normal(shape)),  # counted test examples
        jumps,
    ],
    ids=["normal", "heavy tails", "steps", "jumps"],
)
def test_how_often_an_honest_machine_is_accused(noise: Callable[..., np.ndarray]) -> None:
    """At 1 % at most 1 % of honest runs, and some more for the error of 20,000 simulated ones."""
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(20_000):
        values = 3 * rng.standard_normal(24)
        alarms += paired_p(values, values + noise(rng, (24,))) < 0.01
    assert alarms / 20_000 < 0.0125


@pytest.mark.parametrize(("spread", "least", "most"), [(0.4, 0.99, 1.0), (0.8, 0.4, 0.65), (3.0, 0.0, 0.01)])
def test_how_often_a_shift_of_0_8_is_named_among_100_claims(spread: float, least: float, most: float) -> None:
    """By the spread of the differences: what training amplifies to as much as it hides too."""
    rng = np.random.default_rng(1)
    named = 0
    for _ in range(2_000):
        values = 3 * rng.standard_normal(24)
        named += paired_p(values + 0.8, values + spread * rng.standard_normal(24)) < 0.01 / 100
    assert least <= named / 2_000 <= most


def test_what_is_far_below_the_margin_is_passed_over(make: Make, draw: Draw) -> None:
    """Rounding may have a direction; a hundredth of the margin decides nothing."""
    claim, values = make(margin=1.0), draw(5.0)
    published = run(claim, values)
    assert compare(published, run(claim, values + 0.0099), same_machine=False) is None
    assert compare(published, run(claim, values + 0.0101), same_machine=False) is not None


def test_never_the_opposite_verdict(make: Make, draw: Draw) -> None:
    """Evidence so noisy that no test sees anything: the opposite verdict still is an alarm."""
    a = run(make(), draw(0.0, 0.01))
    a = dataclasses.replace(a, verdict="supported", firmness=0.5, values=draw(0.0, 100.0).tolist())
    b = dataclasses.replace(a, verdict="contradicted")
    for first, second in ((a, b), (b, a)):
        message = compare(first, second, same_machine=False)
        assert message is not None
        assert "the opposite" in message


@pytest.mark.parametrize(("firmness", "fails"), [(0.89, False), (0.9, True), (None, True)])
def test_a_changed_verdict_is_always_said_and_fails_unless_it_was_not_firm(
    firmness: float | None, fails: bool, make: Make, draw: Draw
) -> None:
    published = dataclasses.replace(run(make(), draw(5.0)), firmness=firmness)
    again = dataclasses.replace(published, verdict="inconclusive")
    said = changed_verdict(published, again)
    assert said is not None
    assert said.startswith("the verdict was published as supported")
    assert said.endswith("is now inconclusive")
    assert (f"firmness was {firmness:.2f}" in said) if firmness else "firmness" not in said
    message = compare(published, again, same_machine=False)
    assert (message is not None) is fails
    if message is not None:
        assert message.startswith(f"bn-fast: {said}; 0 of 24 replicates differ")
    assert changed_verdict(published, published) is None


def test_a_claim_that_moves_while_the_others_agree_is_named(make: Make, draw: Draw) -> None:
    """On a machine that is another one by name only, every other claim agrees to the last digit."""
    claims = [run(make(id=f"claim-{n}"), draw(float(n))) for n in range(7)]
    pairs = [(claim, claim) for claim in claims]
    assert outliers(pairs) == {}
    moved = run(make(id="claim-3"), np.where(np.arange(8) == 0, draw(3.0) + 1e-9, draw(3.0)))
    assert compare(claims[3], moved, same_machine=False) is None
    said = outliers([*pairs[:3], (claims[3], moved), *pairs[4:]])
    assert list(said) == ["claim-3"]
    assert said["claim-3"].startswith("claim-3: 3 of 24 replicates differ, on average by +1.25e-10")
    assert said["claim-3"].endswith("while 6 other experiments of the chapter agree to the digit")


def test_where_several_move_another_machine_may_be_the_reason(make: Make, draw: Draw) -> None:
    pairs = []
    for n in range(8):
        claim = make(id=f"claim-{n}")
        pairs.append((run(claim, draw(5.0)), run(claim, draw(5.0) + (1e-9 if n < 3 else 0.0))))
    assert outliers(pairs) == {}  # five agree, three move
    assert outliers(pairs[1:]) == {}  # five, and two
    assert set(outliers(pairs[2:])) == {"claim-2"}
    exact = make("identity", margin=1e-5)
    steady = [(run(exact, np.full(20, 1e-7)),) * 2] * 9
    assert outliers([*pairs[:3], *steady]) == {}  # what is not trained is equal on many machines


def test_values_without_spread_on_another_machine(make: Make) -> None:
    five = run(make(), np.full((3, 8), 5.0))
    assert compare(five, run(make(), np.full((3, 8), 5.0 + 1e-12)), same_machine=False) is None
    assert compare(five, run(make(), np.full((3, 8), 6.0)), same_machine=False) is not None
    zero = run(make(), np.zeros((3, 8)))
    assert compare(zero, zero, same_machine=False) is None
    assert compare(zero, five, same_machine=False) is not None


@pytest.mark.parametrize(
    ("before", "now", "agree"),
    [
        (1e-7, 9.9e-7, True),
        (1e-7, 1.1e-6, False),
        (9e-6, 8e-7, False),
        (0.0, 9e-8, True),  # a tolerance's thousandth, 1e-8, is the least that counts
        (0.0, 2e-7, False),
    ],
)
def test_identity_on_another_machine_by_its_order_of_magnitude(
    before: float, now: float, agree: bool, make: Make
) -> None:
    claim = make("identity", margin=1e-5)
    message = compare(run(claim, np.full(20, before)), run(claim, np.full(20, now)), same_machine=False)
    assert (message is None) is agree
    if message is not None:
        assert f"published as {before:.3g} and is now {now:.3g}: another order of magnitude" in message


def test_identity_on_another_machine_by_its_verdict(make: Make) -> None:
    claim = make("identity", margin=1e-5)
    held, failed = (run(claim, np.full(20, x)) for x in (9e-6, 1.1e-5))
    message = compare(held, failed, same_machine=False)
    assert message is not None
    assert "published as supported and is now contradicted" in message


@pytest.mark.parametrize("same", [True, False])
def test_measurement_by_its_verdict_or_within_a_margin(same: bool, make: Make) -> None:
    claim = make("measurement", margin=0.1)
    rng = np.random.default_rng(0)
    fast, faster, level = (run(claim, rng.normal(x, 0.01, 15)) for x in (0.5, 2.0, 0.0))
    assert (compare(fast, faster, same_machine=same) is None) is not same
    message = compare(fast, level, same_machine=same)
    assert message is not None
    assert "is now negligible, the estimate as 0." in message
    spread = np.linspace(-0.02, 0.02, 15)
    above, below = run(claim, 0.12 + spread), run(claim, 0.095 + spread)
    assert (above.verdict, below.verdict) == ("supported", "inconclusive")
    assert compare(above, below, same_machine=same) is None
    assert compare(below, above, same_machine=same) is None
    far = run(claim, 0.25 + spread)
    assert far.firm
    message = compare(far, below, same_machine=same)
    assert message is not None
    assert f"published as supported (its firmness was {far.firmness:.2f}) and is now inconclusive" in message
    assert compare(dataclasses.replace(far, firmness=0.89), below, same_machine=same) is None


@pytest.mark.parametrize("same", [True, False])
def test_measurement_never_the_opposite(same: bool, make: Make) -> None:
    claim = make("measurement", margin=0.001)
    faster, slower = (run(claim, np.full(15, x) + np.linspace(0, 1e-9, 15)) for x in (0.0011, -0.0011))
    message = compare(faster, slower, same_machine=same)
    assert message is not None
    assert "is now contradicted, the opposite" in message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("claim", "bn-slow"),
        ("kind", "identity"),
        ("margin", 1.5),
        ("unit", "points"),
        ("direction", "equivalent"),
        ("statistic", "sign"),
        ("profile", "full"),
        ("seed", 1),
    ],
)
def test_another_question_is_no_reproduction(field: str, value: Any, make: Make, draw: Draw) -> None:
    published = run(make(), draw(5.0))
    changed = dataclasses.replace(published, **{field: value})
    for same in (True, False):
        message = compare(published, changed, same_machine=same)
        assert message is not None
        assert f"bn-fast: {field} was published as" in message
        assert repr(value) in message


def test_a_published_verdict_that_does_not_follow(make: Make, draw: Draw) -> None:
    again = run(make(), draw(5.0))
    published = dataclasses.replace(again, verdict="negligible")
    message = compare(published, again, same_machine=True)
    assert message is not None
    assert "from equal values" in message


def test_another_number_of_replicates(make: Make, draw: Draw) -> None:
    few, many = run(make(), draw(5.0)), run(make(), draw(5.0, n=9))
    message = compare(few, many, same_machine=True)
    assert message is not None
    assert "shape (3, 8), now of shape (3, 9)" in message
    message = compare(few, many, same_machine=False)
    assert message is not None
    assert "shape (3, 8), now of shape (3, 9)" in message
    with pytest.raises(ValueError, match="at least 1, not 0"):
        compare(few, few, same_machine=True, comparisons=0)


CURVE = [[float(step), 0.8 - 0.0875 * (step - 1)] for step in range(1, 8)] + [[8.0, 0.1]]


def test_what_is_kept_beside_the_values_is_compared_too(make: Make, draw: Draw) -> None:
    """Else an arm's scores, which the pages show, could be anybody's."""
    score = np.full((3, 8), 97.0).tolist()
    arm = Arm(values=score, loss=np.full((3, 8), 0.1).tolist(), accuracy=score, curve=CURVE)
    published = run(make(), draw(5.0), arms={"BN": arm})
    assert compare(published, published, same_machine=True) is None
    other = dataclasses.replace(arm, curve=[*CURVE[:-1], [8.0, 0.2]])
    forged = dataclasses.replace(published, arms={"BN": other})
    message = compare(forged, published, same_machine=True)
    assert message is not None
    assert message == "bn-fast: arms, BN, curve, 7, 1 differs on the same machine: published 0.2, now 0.1"
    dropped = dataclasses.replace(published, arms=None)
    message = compare(published, dropped, same_machine=True)
    assert message == "bn-fast: arms differs on the same machine: published 1 of them, now None"


def test_the_values_of_another_seed_are_named_though_their_mean_is_the_same(make: Make, draw: Draw) -> None:
    """Even the best of 50: the mean of a seed says nothing about its replicates."""
    rng = np.random.default_rng(0)
    for count in (1, 3, 15):
        pairs = []
        for n in range(count):
            claim, values = make(id=f"claim-{n}", margin=1.0), 3 * rng.standard_normal((3, 8))
            drawn = [3 * rng.standard_normal((3, 8)) for _ in range(50)]
            best = max(drawn, key=lambda other: float(other.mean()))
            pairs.append((run(claim, best), run(claim, values)))
        said = foreign(pairs)
        assert list(said) == [f"claim-{n}" for n in range(count)]
        assert said["claim-0"].startswith(
            "claim-0: these are not the values of seed 0: over the replicates of "
        )
        honest = [
            (run(make(id=old.claim), np.add(np.asarray(new.values), rng.standard_normal((3, 8)))), new)
            for old, new in pairs
        ]
        assert foreign(honest) == {}


def a_chapter(
    rng: np.random.Generator, make: Make, forged: int, recurrent: int, networks: int = 7
) -> list[tuple[Evidence, Evidence]]:
    """Claims on convolutional networks (spread 1 to 5, machine noise up to a third) and recurrent ones
    (spread 6, noise 6.5); the first ones have values of another seed."""
    template = run(make(unit="percentage points"), np.arange(24.0).reshape(3, 8))
    pairs = []
    for n in range(networks + recurrent):
        noise, spread = (6.5, 6.0) if n >= networks else (0.0, float(rng.uniform(1, 5)))
        noise = noise or float(rng.uniform(0.1, 0.33)) * spread
        spread = max(spread, noise)
        stay = np.sqrt(max(0.0, spread**2 - noise**2 / 2))
        core, other = stay * rng.standard_normal((2, 3, 8))
        shaken = [core, other if n < forged else core]
        new, old = (part + noise / np.sqrt(2) * rng.standard_normal((3, 8)) for part in shaken)
        base = dataclasses.replace(template, claim=f"claim-{n}")
        pairs.append(tuple(dataclasses.replace(base, values=v.tolist()) for v in (old, new)))
    return pairs  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("forged", "recurrent", "least", "most"),
    [
        (0, 0, 0.0, 0.0),  # honest
        (0, 1, 0.0, 0.06),  # one recurrent claim among others, whose noise is as large as its spread
        (0, 3, 0.0, 0.02),
        (7, 0, 0.98, 1.0),  # all of another seed
        (10, 3, 0.97, 1.0),
        (1, 0, 0.6, 1.0),  # one
        (3, 0, 0.85, 1.0),
        (1, 3, 0.0, 0.1),  # its spread is less than the noise of its neighbours: what is not seen
    ],
)
def test_how_often_a_chapter_is_said_to_have_values_of_another_seed(
    forged: int, recurrent: int, least: float, most: float, make: Make
) -> None:
    rng = np.random.default_rng(5)
    named = sum(bool(foreign(a_chapter(rng, make, forged, recurrent))) for _ in range(300))
    assert least <= named / 300 <= most


def test_counted_values_and_values_without_spread_have_no_correlation(make: Make) -> None:
    signs = np.where(np.arange(24).reshape(3, 8) % 5, 1.0, -1.0)
    sign = make(statistic="sign", unit="share of replicates", margin=0.25)
    assert relation(run(sign, signs), run(sign, -signs)) is None
    flat = run(make(), np.full((3, 8), 5.0))
    assert relation(flat, run(make(), 5 + np.arange(24.0).reshape(3, 8))) is None
    assert foreign([(flat, flat)]) == {}


def whole(make: Make, draw: Draw) -> Evidence:
    """A claim with all that is kept beside its values."""
    score = draw(97.0, 1.0)
    arms = {
        name: Arm(
            values=(score + n).tolist(),
            loss=draw(0.1, 0.01).tolist(),
            accuracy=np.clip(draw(96.0), 0, 100).tolist(),
            curve=CURVE,
            chance=10.0,
        )
        for n, name in enumerate(("BN", "LN"))
    }
    return run(
        make(),
        draw(5.0),
        arms=arms,
        clusters=[[f"style {r % 4}" for r in range(8)]] * 3,
        guard={0.5: draw(5.0)[0], 2.0: draw(5.0)[1]},
        scope_map=[({"width": 8}, draw(4.0)[0]), ({"width": 16}, draw(5.0)[0])],
    )


def with_arm(evidence: Evidence, **changes: Any) -> Evidence:
    assert evidence.arms is not None
    arms = evidence.arms | {"BN": dataclasses.replace(evidence.arms["BN"], **changes)}
    return dataclasses.replace(evidence, arms=arms)


def with_cell(evidence: Evidence, part: str, **changes: Any) -> Evidence:
    cells = getattr(evidence, part)
    changed: dict[str, Any] = {part: [dataclasses.replace(cells[0], **changes), *cells[1:]]}
    return dataclasses.replace(evidence, **changed)


FORGED_BESIDE: dict[str, Callable[[Evidence], Evidence]] = {
    "arms, BN, values": lambda e: with_arm(e, values=np.add(e.arms["BN"].values, 0.8).tolist()),  # type: ignore[index]
    "arms, BN, loss": lambda e: with_arm(e, loss=np.multiply(e.arms["BN"].loss, 0.5).tolist()),  # type: ignore[index, arg-type]
    "arms, BN, curve at step 1": lambda e: with_arm(e, curve=[[1.0, 8.0], *CURVE[1:]]),
    "arms, BN, steps": lambda e: with_arm(e, curve=[[0.5, 0.8], *CURVE[1:]]),
    "arms, BN, what it keeps": lambda e: with_arm(e, accuracy=None),
    "arms, BN, chance": lambda e: with_arm(e, chance=5.0),
    "arms": lambda e: dataclasses.replace(e, arms=None),
    "guard at budget 0.5": lambda e: with_cell(e, "guard", values=np.add(e.guard[0].values, 2.0).tolist()),  # type: ignore[index]
    "guard, 0, 0, budget": lambda e: with_cell(e, "guard", at={"budget": 0.99}),
    "map at width 8": lambda e: with_cell(e, "map", values=np.add(e.map[0].values, 2.0).tolist()),  # type: ignore[index]
    "map": lambda e: dataclasses.replace(e, map=None),
    "clusters, 0, 0": lambda e: dataclasses.replace(
        e,
        clusters=[["another", *e.clusters[0][1:]], *e.clusters[1:]],  # type: ignore[index]
    ),
}


@pytest.mark.parametrize("where", FORGED_BESIDE)
def test_what_is_kept_beside_the_values_is_compared_on_another_machine(
    where: str, make: Make, draw: Draw
) -> None:
    again = whole(make, draw)
    moved = dataclasses.replace(again, values=amplified(np.asarray(again.values), 0.5).tolist())
    assert compare(moved, again, same_machine=False) is None
    message = compare(FORGED_BESIDE[where](moved), again, same_machine=False)
    assert message is not None
    assert message.startswith(f"bn-fast: {where}")


def test_arms_that_another_machine_moves_are_no_alarm(make: Make, draw: Draw) -> None:
    again = whole(make, draw)
    for seed in range(20):
        assert again.arms is not None
        arm = again.arms["BN"]
        moved = with_arm(
            again,
            values=amplified(np.asarray(arm.values), 0.5, seed).tolist(),
            loss=amplified(np.asarray(arm.loss), 0.01, seed).tolist(),
            curve=[[step, loss * 1.1] for step, loss in CURVE],
        )
        assert compare(moved, again, same_machine=False) is None


@pytest.mark.parametrize(
    "forge",
    [
        lambda e: with_arm(e, loss=[[0.2, *e.arms["BN"].loss[0][1:]], *e.arms["BN"].loss[1:]]),
        lambda e: with_arm(e, curve=[*CURVE[:-1], [8.0, 0.11]]),
        lambda e: with_cell(e, "map", values=[4.5, *e.map[0].values[1:]]),
    ],
    ids=["a loss", "a curve", "a cell"],
)
def test_where_the_values_are_equal_so_is_what_is_kept_beside_them(
    forge: Callable[[Evidence], Evidence], make: Make, draw: Draw
) -> None:
    """A last digit would be enough; no test by chance sees as little."""
    again = whole(make, draw)
    forged = forge(again)
    assert compare(forged, again, same_machine=False) is None
    message = agreement(forged, again, same_machine=False, comparisons=11, within=0.0)
    assert message is not None
    assert "differs where the values agree to the digit: published " in message
    shaken = dataclasses.replace(forged, values=(np.asarray(again.values) * (1 + 1e-7)).tolist())
    message = agreement(shaken, again, same_machine=False, comparisons=11, within=1e-3)
    assert message is not None
    assert "differs where the values agree: published " in message


def test_an_arm_that_no_longer_counts_as_trained_is_said_and_is_no_alarm(make: Make, draw: Draw) -> None:
    """The curve lies near the limit: another machine decides it otherwise, and the interval is the same."""

    def arms(late: float) -> dict[str, Arm]:
        curve = [[float(step), 1.0 - 0.1 * min(step, 5) - late * (step > 6)] for step in range(1, 9)]
        return {"BN": Arm(values=draw(97.0).tolist(), curve=curve)}

    trained, late = (run(make(), draw(5.0), arms=arms(x)) for x in (0.0, 0.03))
    assert (trained.verdict, late.verdict, late.reason) == ("supported", "inconclusive", "undertrained")
    for published, again in ((trained, late), (late, trained)):
        assert changed_verdict(published, again) is not None
        assert compare(published, again, same_machine=False) is None
    # The interval's own verdict changed too: that is an alarm.
    other = run(make(), draw(0.0, 0.1), arms=arms(0.0))
    message = compare(late, other, same_machine=False)
    assert message is not None
    assert "is now negligible" in message


def test_a_reason_that_changed_is_said(make: Make, draw: Draw) -> None:
    published = dataclasses.replace(run(make(), draw(5.0)), verdict="inconclusive", reason="undertrained")
    again = dataclasses.replace(published, reason="a matter of budget")
    assert changed_reason(published, again) == (
        "it was published as inconclusive because: undertrained, and is now: a matter of budget"
    )
    assert changed_reason(published, published) is None


def shaken(evidence: Evidence, share: float = 1e-7) -> Evidence:
    """All values moved in their last digits, as a forger would to pass for another machine."""
    noise = np.random.default_rng(1).standard_normal(np.shape(np.asarray(evidence.values)))
    return dataclasses.replace(evidence, values=(np.asarray(evidence.values) * (1 + share * noise)).tolist())


def test_values_shaken_in_their_last_digits_open_no_tolerance(make: Make, draw: Draw) -> None:
    arms = {"BN": Arm(values=draw(97.0).tolist(), accuracy=np.full((3, 8), 97.0).tolist())}
    trained = [run(make(id=f"claim-{n}"), draw(float(n)), arms=arms) for n in range(7)]
    assert arithmetic([(e, e) for e in trained]) == 0
    pairs = [(shaken(e), e) for e in trained]
    assert arithmetic(pairs) == 1e-3
    assert outliers(pairs) == {}
    forged = dataclasses.replace(trained[3], values=(draw(3.0) + np.eye(3, 8)).tolist())
    said = outliers([*pairs[:3], (forged, trained[3]), *pairs[4:]])
    assert list(said) == ["claim-3"]
    assert said["claim-3"].endswith("while 6 other experiments of the chapter agree to a millionth")
    assert arithmetic([*pairs[:3], (forged, trained[3]), *pairs[4:]]) == 1e-3
    # What training moved by as much is another machine.
    assert arithmetic([(shaken(e, 1e-4), e) for e in trained]) is None


def test_what_is_only_computed_agrees_on_other_machines(make: Make, draw: Draw) -> None:
    """Without training rounding stays rounding: that says nothing about the arithmetic."""
    computed = [run(make(id=f"claim-{n}"), draw(float(n))) for n in range(7)]
    pairs = [(shaken(e), e) for e in computed]
    assert arithmetic(pairs) is None
    moved = (run(make(id="claim-9"), draw(5.0) + 0.1 * np.eye(3, 8)), run(make(id="claim-9"), draw(5.0)))
    assert outliers([*pairs, moved]) == {}


def test_a_measurement_moves_by_little_on_its_own_machine(make: Make) -> None:
    """The verdict is the same word in all of them."""
    claim, spread = make("measurement", margin=0.1), np.linspace(-0.02, 0.02, 15)
    published = run(claim, 0.5 + spread)
    error = math.sqrt(2) * spread.std(ddof=1) / math.sqrt(15)
    for by, fine in ((0.1 + 2.99 * error, True), (0.1 + 3.01 * error, False), (1.5, False)):
        again = run(claim, 0.5 + by + spread)
        assert changed_verdict(published, again) is None
        assert (moved_far(published, again) is None) is fine
        assert compare(published, again, same_machine=False) is None
        message = compare(published, again, same_machine=True)
        assert (message is None) is fine
        if message is not None:
            assert message.startswith("bn-fast: the estimate was published as 0.5 and is now ")
