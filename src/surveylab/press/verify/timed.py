"""Which cells of a chapter show times, found by reading its code.

A time never repeats, so what follows from one must not be compared to the digit; everything else must. No
list says which cells these are: whoever reads a clock is followed from name to name.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

from surveylab.press.project import Notebook, text_of
from surveylab.press.run.sources import parse_cell
from surveylab.press.run.usage import bindings, chain_of, defined_at, module_path, parsed_module

CLOCKS = ("time", "timeit")
# Methods that put what they are given into the object they belong to.
_TAKES_IN = {"append", "appendleft", "extend", "insert", "add", "update", "setdefault"}


def timed_cells(notebook: Notebook, packages: Mapping[str, Path]) -> set[str]:
    """The ids of the code cells that read a clock, or a name whose value follows from one.

    A clock is `time` or `timeit`, or a function of the library from a module that imports one of them, such
    as `surveylab.lab.interleaved`. A name that is bound anew, to what has nothing to do with times, is free
    again.

    Raises:
        PressError: a module of the library is not Python.
    """
    flow = _Flow(packages)
    found = set()
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        try:
            tree = parse_cell(text_of(cell))
        except SyntaxError:
            continue  # such a cell cannot have been executed
        if flow.follow(tree.body):
            found.add(str(cell.get("id")))
    return found


class _Flow:
    """The names that hold times, statement by statement."""

    def __init__(self, packages: Mapping[str, Path]) -> None:
        self.packages = packages
        self.modules: dict[str, str] = {}
        self.times: set[str] = set()

    def follow(self, statements: list[ast.stmt], under: bool = False) -> bool:
        """Go through statements in their order; whether any of them reads a time.

        Args:
            under: Whether a time decides if they are reached.
        """
        found = [self._statement(statement, under) for statement in statements]  # all, also after the first
        return any(found)

    def _statement(self, node: ast.stmt, under: bool) -> bool:
        if isinstance(node, ast.Import | ast.ImportFrom):
            self.modules |= bindings([node])
            return False
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            timed = under or self._reads(node)
            self._bind(ast.Name(node.name), timed)
            return timed
        if isinstance(node, ast.For | ast.AsyncFor):
            timed = under or self._reads(node.iter)
            self._bind(node.target, timed)
            # Twice: what the end of a body holds, its beginning reads.
            return any([timed, *(self.follow([*node.body, *node.orelse], under) for _ in range(2))])
        if isinstance(node, ast.While | ast.If):
            timed = under or self._reads(node.test)
            turns = 2 if isinstance(node, ast.While) else 1
            return any([timed, *(self.follow([*node.body, *node.orelse], timed) for _ in range(turns))])
        if isinstance(node, ast.With | ast.AsyncWith):
            timed = under
            for item in node.items:
                timed |= self._reads(item.context_expr)
                if item.optional_vars is not None:
                    self._bind(item.optional_vars, timed)
            return self.follow(node.body, under) or timed
        if isinstance(node, ast.Try):
            handlers = [statement for handler in node.handlers for statement in handler.body]
            return self.follow([*node.body, *handlers, *node.orelse, *node.finalbody], under)
        return self._simple(node, under)

    def _simple(self, node: ast.stmt, under: bool) -> bool:
        timed = under or self._reads(node)
        if isinstance(node, ast.Assign):
            for target in node.targets:
                self._bind(target, timed)
        elif (isinstance(node, ast.AnnAssign) and node.value is not None) or (
            isinstance(node, ast.AugAssign) and timed
        ):
            self._bind(node.target, timed)
        for call in ast.walk(node):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
                given = [*call.args, *(keyword.value for keyword in call.keywords)]
                if call.func.attr in _TAKES_IN and (under or any(map(self._reads, given))):
                    self._bind(call.func, True)
        for named in ast.walk(node):
            if isinstance(named, ast.NamedExpr):
                self._bind(named.target, under or self._reads(named.value))
        return timed

    def _bind(self, target: ast.expr, timed: bool) -> None:
        """Let a target hold a time, or free it: a part of an object frees nothing."""
        if isinstance(target, ast.Tuple | ast.List):
            for element in target.elts:
                self._bind(element, timed)
        elif isinstance(target, ast.Starred):
            self._bind(target.value, timed)
        elif isinstance(target, ast.Name):
            (self.times.add if timed else self.times.discard)(target.id)
        elif isinstance(target, ast.Attribute | ast.Subscript) and timed:
            self._bind(target.value, True)

    def _reads(self, node: ast.AST) -> bool:
        """Whether an expression reads a name that holds a time, or a clock."""
        for part in ast.walk(node):
            if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load) and part.id in self.times:
                return True
        return any(self._clock(name) for name in self._names(node))

    def _names(self, node: ast.AST) -> Iterator[str]:
        """The dotted names of an expression that an import gave, each spelt out in full."""
        for part in ast.walk(node):
            first, dot, rest = chain_of(part).partition(".")
            if first in self.modules:
                yield self.modules[first] + dot + rest

    def _clock(self, name: str) -> bool:
        if name.partition(".")[0] in CLOCKS:
            return True
        module, inside, _ = defined_at(name, self.packages).partition(":")
        path = module_path(module, self.packages) if inside else None
        return path is not None and any(
            full.partition(".")[0] in CLOCKS
            for node in parsed_module(path).body
            if isinstance(node, ast.Import | ast.ImportFrom)
            for full in bindings([node]).values()
        )
