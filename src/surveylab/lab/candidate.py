"""The reader's own method, named as ``"package.module:Class"``, in a chapter's comparison.

A chapter loads it right after `begin`, so that a slip is said in the first seconds, with what the chapter
expects of it.
"""

from __future__ import annotations

import ast
import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from surveylab.claims.intervals import student_interval
from surveylab.claims.render import number
from surveylab.lab.evidence import show_text
from surveylab.lab.output import COMPUTED, show
from surveylab.lab.population import Population
from surveylab.lab.streams import make_streams


class CandidateError(ValueError):
    """The candidate cannot be found, or is not what the chapter can use."""


def load_candidate(
    spec: str | None, *, arguments: Mapping[str, Any] | None = None, shape: Sequence[int] | None = None
) -> Callable[..., Any] | None:
    """Import what ``"package.module:Class"`` names, try it the way the chapter will use it, and say so.

    The module is looked for beside the notebook, and where ``surveylab run`` was called. Arguments of its own
    follow a question mark, ``"package.module:Class?groups=4&eps=1e-3"``, as Python's literals.

    Args:
        spec: The candidate; None for none.
        arguments: What the chapter makes it with: values by name, passed in this order and without names.
        shape: For a layer that keeps its input's shape: that of an input to try it on, (B, …).

    Returns:
        The class, or the function that makes the method; None for None.

    Raises:
        CandidateError: If it cannot be found or made, or is not such a layer; the message says what is
            expected.
    """
    if spec is None:
        return None
    found = _find(spec)
    remarks = [f"`{found.__name__}` of `{found.__module__}` joins the comparison."]
    if arguments is not None:
        trial = _Trial(spec, found, arguments)
        made = trial.make()
        if shape is not None:
            trial.layer(made, torch.Size(shape))
            remarks += trial.population(torch.Size(shape))
    show_text(" ".join(remarks))
    return found


def compare(arms: Mapping[str, Tensor], baseline: str, *, title: str = "arm", unit: str = "points") -> None:
    """Show arms as a table: their means, and their paired differences from one of them.

    For a look at a candidate: it has no claim, hence no margin and no verdict.

    Args:
        arms: Values by name, one a replicate.
        baseline: The arm to compare with.
        title: What stands above the arms' names.
        unit: What a value is measured in.
    """
    rows = [[title, f"mean ({unit})", f"minus {baseline}, 99 % interval"]]
    for name, values in arms.items():
        against = ""
        if name != baseline:
            difference = (values - arms[baseline]).double().cpu()
            low, high = (number(end, sign=True) for end in student_interval(difference.numpy()))
            against = f"{number(difference.mean().item(), sign=True)} [{low}, {high}]"
        rows.append([name, number(values.double().mean().item()), against])
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    marked = ["| " + " | ".join(row) + " |" for row in rows]
    marked.insert(1, "|---|---|---|")
    plain = "\n".join(line.rstrip() for line in lines)
    # The command shows these tables when the chapter has run.
    show(
        {"text/plain": plain, "text/markdown": "\n".join(marked) + COMPUTED},
        {"surveylab": {"table": plain}},
        plain=plain,
    )


def _find(spec: str) -> Callable[..., Any]:
    target, _, options = spec.partition("?") if isinstance(spec, str) else ("", "", "")
    module, colon, name = target.partition(":")
    if not (module and colon and name) or module.startswith("."):
        raise CandidateError(
            f"candidate must read 'package.module:Class' or 'package.module:Class?name=value'; got {spec!r}"
        )
    try:
        found = import_module(module)
    except Exception as error:  # whatever the reader's file raises
        hint = ""
        if isinstance(error, ModuleNotFoundError) and error.name == module.partition(".")[0]:
            hint = f" ({error.name}.py belongs beside the notebook, or where surveylab run is called)"
        raise CandidateError(
            f"candidate {spec!r}: cannot import {module}: {type(error).__name__}: {error}{hint}"
        ) from error
    made = getattr(found, name, None)
    if made is None:
        makers = {key: value for key, value in vars(found).items() if _makes(value)}
        own = [key for key, value in makers.items() if value.__module__ == module]
        near = ", ".join(get_close_matches(name, makers, n=1) or own)
        raise CandidateError(
            f"candidate {spec!r}: {module} has no {name}" + (f"; it has {near}" if near else "")
        )
    if not _makes(made):
        raise CandidateError(
            f"candidate {spec!r} must be a class, or a function that makes the method; got {made!r}"
        )
    return _bound(made, spec, options) if options else made


def _bound(made: Callable[..., Any], spec: str, options: str) -> Callable[..., Any]:
    """What makes the method with arguments given as ``name=value&name=value``."""
    arguments = {}
    for option in options.split("&"):
        name, equals, value = option.partition("=")
        if not (name.isidentifier() and equals):
            raise CandidateError(f"candidate {spec!r}: arguments must read name=value; got {option!r}")
        try:
            arguments[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError) as error:
            raise CandidateError(
                f"candidate {spec!r}: {name} must be a literal such as 4, 1e-3, True or 'text'; got {value!r}"
            ) from error

    def make(*given: Any, **named: Any) -> Any:
        return made(*given, **arguments, **named)

    shown = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
    make.__name__, make.__module__ = f"{made.__name__}({shown})", made.__module__
    make.arguments = arguments  # type: ignore[attr-defined]
    return make


def _makes(value: Any) -> bool:
    return inspect.isclass(value) or inspect.isfunction(value)


class _Trial:
    """The chapter's use of a candidate, in small."""

    def __init__(self, spec: str, found: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
        self._spec, self._found, self._arguments = spec, found, arguments

    def make(self) -> Any:
        return self._attempt("cannot be made", self._found, *self._arguments.values())

    def layer(self, made: Any, shape: torch.Size) -> None:
        """Forward in both modes, and backward."""
        if not isinstance(made, nn.Module):
            self._fail(f"must be a torch.nn.Module; it is {made!r}")
        for training, mode in ((True, "training"), (False, "evaluation")):
            x = _noise(shape).requires_grad_()
            made.train(training)
            y = self._attempt(f"fails in {mode} on an input of shape {tuple(shape)}", made, x)
            if not isinstance(y, Tensor) or y.shape != shape:
                got = f"shape {tuple(y.shape)}" if isinstance(y, Tensor) else repr(y)
                self._fail(f"must keep the shape {tuple(shape)} of its input; in {mode} it returns {got}")
            if not y.isfinite().all():
                self._fail(f"returns values that are not finite in {mode}")
            if not y.requires_grad:
                self._fail(f"passes no gradient on in {mode}; does it detach its input?")
            if training:
                self._backward(made, x, y)

    def _backward(self, made: nn.Module, x: Tensor, y: Tensor) -> None:
        # From random values: the sum of what a normalisation returns hardly depends on its input.
        self._attempt("fails in the backward pass", y.backward, _noise(y.shape, seed=1))
        if x.grad is None:
            self._fail("passes no gradient on to its input in training; does it detach it?")
        for what, leaf in {"its input": x, **dict(made.named_parameters())}.items():
            if leaf.grad is not None and not leaf.grad.isfinite().all():
                self._fail(f"has a gradient with respect to {what} that is not finite")

    def population(self, shape: torch.Size) -> list[str]:
        """Two replicas together, against one of them alone; what there is to say about it."""
        population = Population(self.make, make_streams(0, 2, 1))
        one, twin = population.replica(0), population.replica(0)
        x = _noise(torch.Size((2, *shape)))
        with warnings.catch_warnings(record=True) as caught, torch.no_grad():
            warnings.simplefilter("always")
            for training in (True, False):
                population.train(training)
                together = self._attempt("fails where several train together", population, x)
                alone, again = (model.train(training)(x[0]) for model in (one, twin))
                if not torch.equal(alone, again):
                    break  # it draws random numbers, so there is nothing to compare
                pairs = [(together[0], alone)]
                pairs += [(population.buffers[name][0], value) for name, value in one.named_buffers()]
                if not all(torch.allclose(a, b, rtol=1e-3, atol=1e-4) for a, b in pairs):
                    self._fail(
                        "does not compute the same where several train together: keep what changes in "
                        "training in buffers (register_buffer), and change them in place, as in "
                        "self.running_mean.mul_(0.9).add_(0.1 * mean)"
                    )
        return [str(warning.message) for warning in caught]

    def _attempt(self, what: str, act: Callable[..., Any], *given: Any) -> Any:
        try:
            return act(*given)
        except CandidateError:
            raise
        except Exception as error:  # whatever the reader's code raises
            raise CandidateError(f"{self._said(what)}: {type(error).__name__}: {error}") from error

    def _fail(self, what: str) -> NoReturn:
        raise CandidateError(self._said(what))

    def _said(self, what: str) -> str:
        own = getattr(self._found, "arguments", {})
        given = ", ".join(f"{name}={value!r}" for name, value in {**self._arguments, **own}.items())
        name = self._spec.partition(":")[2].partition("?")[0]
        return f"candidate {self._spec!r}: {name}({given}) {what}"


def _noise(shape: torch.Size, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 2 + 1
