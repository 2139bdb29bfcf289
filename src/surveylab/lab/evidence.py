"""From values to a verdict on the page: `check`, and `say` for prose that shows what the run computed."""

from __future__ import annotations

import ast
import inspect
import os
import textwrap
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from surveylab.claims import (
    Arm,
    Evidence,
    agreement,
    evidence_of,
    judge,
    published_path,
    read_notebook,
    render_markdown,
    render_summary,
    render_text,
    run_of,
    same_machine,
)
from surveylab.claims.arms import POINTS, Baseline, has_learnt
from surveylab.claims.intervals import student_interval
from surveylab.claims.render import number, result
from surveylab.lab import tuning
from surveylab.lab.data import Dataset
from surveylab.lab.output import COMPUTED, show
from surveylab.lab.session import Run, active, current, machine, versions

if TYPE_CHECKING:
    from surveylab.lab.comparison import Trained


class NotReproducedError(AssertionError):
    """A re-executed result contradicts the published one."""


def check(
    claim: str,
    values: Any = None,
    *,
    data: Dataset | None = None,
    arms: Mapping[str, Trained] | None = None,
    guard: Mapping[float, torch.Tensor] | None = None,
    scope_map: Iterable[tuple[Mapping[str, Any], torch.Tensor]] | None = None,
    clusters: Any = None,
) -> None:
    """Judge a claim by its replicates' values and show the verdict with all that it rests on.

    Outside the book's chapters a claim need not be registered: its estimate and interval are shown, without a
    verdict, since no margin was written down before.

    Args:
        claim: The claim's id in ``book/claims/``, or any name for a question of one's own.
        values: For an experiment one value a replicate, (3, n) or (3n,); for an identity the errors; for a
            measurement the log-ratios; for a source nothing.
        data: What the values were measured on.
        arms: For an experiment in which networks were trained, the arms that the values compare. Their
            scores, training losses and learning curves are kept with the evidence, and one that has not
            learnt makes the claim inconclusive.
        guard: For an experiment the same effect of population 0 at other budgets, one value a replicate, such
            as ``{0.25: …, 4: …}``: at least one below and one above 1, in units of the run's. An effect that
            goes there makes the claim inconclusive. `Comparison.variant` trains at another budget.
        scope_map: Settings and the same effect in them, one value a replicate, such as
            ``[({"budget": 2, "data": "fashion"}, …), …]``. It decides nothing; the card draws it.
        clusters: What each value's replicate shares with others, a number or a name, one a value: (3n,) or
            (3, n). The interval is then over clusters.

    Raises:
        KeyError: In a chapter, if there is no such claim.
        ValueError: If the claim is another chapter's, or the values are not one a replicate.
        NotReproducedError: In verification, if the result is not the published one within the rules.
    """
    run = active()
    if run is None or not run.registered:
        _show_unregistered(claim, values, arms or {})
        return
    if claim not in run.claims:
        near = get_close_matches(claim, run.claims, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise KeyError(f"claim {claim!r} is not in book/claims/{hint}")
    entry = run.claims[claim]
    if entry.chapter != run.chapter:
        raise ValueError(f"claim {claim!r} belongs to {entry.chapter}; this run is {run.chapter}")
    if tuning.is_tuning():
        return  # rates are being chosen; what they give is nobody's evidence
    if entry.kind == "experiment" and values is not None:
        try:
            values = run.by_population(torch.as_tensor(values, dtype=torch.float64)).tolist()
        except ValueError as error:
            raise ValueError(f"claim {claim}: {error}") from error
    elif isinstance(values, torch.Tensor):
        values = values.detach().double().cpu().flatten().tolist()
    source = data.source if data is not None else None
    known = (
        None
        if arms is None
        else {
            name: _arm(trained, lambda values: run.by_population(values).tolist())
            for name, trained in arms.items()
        }
    )
    evidence = judge(
        entry,
        values,
        profile=run.profile,
        seed=run.seed,
        data=source,
        arms=known,
        guard=None if guard is None else {budget: _row(there) for budget, there in guard.items()},
        scope_map=None if scope_map is None else [(at, _row(there)) for at, there in scope_map],
        clusters=None if clusters is None else _by_population(clusters, values),
    )
    if os.environ.get("SURVEYLAB_VERIFY") and run.profile != "smoke":
        evidence = _reproduced(run, evidence)
    run.evidence[claim] = evidence
    text = render_text(evidence)
    show(
        {"text/plain": text, "text/markdown": render_markdown(entry, evidence)},
        {"surveylab": evidence.to_metadata()},
        plain=f"{text} {result(evidence)}".rstrip(),
    )


def _by_population(clusters: Any, values: Any) -> Any:
    """Names in the shape of the values, if there is one a value; else as they are, for `judge` to refuse."""
    names = np.asarray(clusters)
    shape = np.shape(values)
    return names.reshape(shape).tolist() if names.size == np.prod(shape) else clusters


def _row(values: Any) -> list[float]:
    """The effect in one other setting, one value a replicate."""
    return torch.as_tensor(values, dtype=torch.float64).cpu().flatten().tolist()


def _arm(trained: Trained, populations: Callable[[torch.Tensor], list[list[float]]]) -> Arm:
    """What the rules want to know of an arm; its values one a replicate are laid out by population."""
    accuracy, known = trained.training_accuracy, trained.baseline
    return Arm(
        values=populations(trained.score),
        loss=populations(trained.training_loss),
        accuracy=None if accuracy is None else populations(accuracy),
        curve=_curve(trained.history.losses.mean(1)) if len(trained.history.losses) >= POINTS else None,
        baseline=None if known is None else Baseline(known.method, known.score),
        chance=None if accuracy is None else 100 / len(trained.split.get(trained.split.test)[1].unique()),
    )


def _curve(losses: torch.Tensor, points: int = 32) -> list[list[float]]:
    """The means of a training loss over equal stretches of the steps, as pairs (step, loss)."""
    parts = losses.double().tensor_split(min(points, len(losses)))
    ends = torch.tensor([len(part) for part in parts]).cumsum(0)
    return [[float(end), float(part.mean())] for end, part in zip(ends, parts, strict=True)]


def show_text(text: str) -> None:
    """Show a paragraph of Markdown whose numbers the run has just computed."""
    show({"text/plain": "computed text", "text/markdown": text + COMPUTED})


def _show_unregistered(claim: str, values: Any, arms: Mapping[str, Trained]) -> None:
    """Estimate and interval of values that no registered claim awaits."""
    if values is None:
        raise ValueError(f"{claim}: values must be given, one a replicate; it is no claim of the book's")
    array = torch.as_tensor(values, dtype=torch.float64).detach().cpu().flatten().numpy()
    if len(array) < 2:
        raise ValueError(f"{claim}: values must be at least two, one a replicate; got {len(array)}")
    low, high = (number(end) for end in student_interval(array))
    mean = number(float(array.mean()))
    text = f"{claim}: {mean} [{low}, {high}], mean and 99 % interval of {len(array)} values"
    late = [name for name, arm in arms.items() if not has_learnt(_arm(arm, lambda row: [row.tolist()]))]
    remark = f"; not finished learning: {', '.join(late)}" if late else ""
    show({"text/plain": f"{text}; not registered, so without a verdict{remark}"})


def _reproduced(run: Run, again: Evidence) -> Evidence:
    """The published evidence, if what was just measured agrees: a borderline interval cannot flip a test."""
    assert run.chapter is not None
    notebook = read_notebook(published_path(run.root, run.chapter, run.profile))
    published = evidence_of(notebook)
    if again.claim not in published:
        raise NotReproducedError(
            f"{again.claim}: the published chapter does not carry this claim; run it anew"
        )
    here: Mapping[str, Any] = {"machine": machine(run.device), "versions": versions()}
    difference = agreement(
        published[again.claim],
        again,
        same_machine=same_machine(run_of(notebook) or {}, here),
        comparisons=len(published),
    )
    if difference is not None:
        raise NotReproducedError(difference)
    return published[again.claim]


def show_source(function: Any) -> None:
    """Show the library's own code of a function, without its docstring: the page repeats nothing by hand."""
    source = textwrap.dedent(inspect.getsource(function))
    node = ast.parse(source).body[0]
    assert isinstance(node, ast.FunctionDef | ast.ClassDef)
    lines = source.splitlines()
    if ast.get_docstring(node) is not None:
        text = node.body[0]
        assert text.end_lineno is not None
        del lines[text.lineno - 1 : text.end_lineno]
    show({"text/plain": "source", "text/markdown": "```python\n" + "\n".join(lines) + "\n```"})


def summary() -> None:
    """A table of what this run has checked: each claim with its verdict and estimate."""
    run = current()
    if tuning.is_tuning():
        return
    lines = [f"{render_text(evidence)} {result(evidence)}".rstrip() for evidence in run.evidence.values()]
    show(
        {"text/plain": "summary", "text/markdown": render_summary(run.evidence.values())},
        {"surveylab": {"strategies": run.strategies}},  # how replicas ran is part of the provenance
        plain="\n".join(lines),
    )
