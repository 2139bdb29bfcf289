"""Which modules of the library decide a chapter's results: those that define what its code uses, and so on.

The code is read, never run. A package's `__init__` that only exports what its modules define is transparent:
who uses `lab.train` depends on the module that defines `train`, not on whatever else `lab` exports. Where the
code does not tell what is used (`getattr(lab, name)`, a star import, a name that `__getattr__` makes), the
whole package counts.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

from surveylab.press.run.usage import base_module, bindings, chain_of, defined_at, module_path, parsed_module

LEFT_OUT = {
    "surveylab.press": "executes and publishes; no result is computed there",
    "surveylab.lab.plots": "draws what was computed",
    "surveylab.lab.output": "shows results in a notebook or a script",
    "surveylab.lab.cache": "brings back what an arm gave, to the bit; published runs are verified without it",
    "surveylab.lab.watching": "shows a person who watches how far a run is; a published run shows nothing",
    "surveylab.lab.candidate": "brings in the reader's own method, which no published run has",
    "surveylab.claims.badges": "says how a verdict is shown",
    "surveylab.claims.reproduction": "compares a second run with the published one",
    "surveylab.claims.registry": "reads the claims; what it read is a part of the fingerprint",
    "surveylab.claims.record": "finds and reads files",
    "surveylab.claims.render": "lays a card out; `run` renders published cards again without executing",
}
"""Modules and packages that cannot change a verdict, and why. What only they use does not count either."""

# What an `__init__` says for its readers and for star imports.
_EXPORTS = {"__all__", "__version__"}


def reached_modules(trees: Iterable[ast.Module], packages: Mapping[str, Path]) -> dict[str, ast.Module]:
    """Every module of `packages` that code reaches by the names it uses, parsed.

    Of an `__init__` only what is there besides exports; if that is nothing, it is not among them.

    Args:
        trees: The code, such as the cells of a chapter; what one tree imports the next ones may use.

    Raises:
        PressError: a module is not Python.
    """
    modules: dict[str, ast.Module] = {}
    seen: set[str] = set()
    code = ast.Module([statement for tree in trees for statement in tree.body], [])
    waiting = [module for name in set(_used(code, "", False)) for module in _defining(name, packages)]
    while waiting:
        name = waiting.pop()
        path = module_path(name, packages)
        if name in seen or path is None or _left_out(name):
            continue
        seen.add(name)
        # Importing a module runs the `__init__` of all packages around it.
        waiting.append(name.rpartition(".")[0])
        is_package = path.name == "__init__.py"
        tree = parsed_module(path)
        own = _without_exports(tree) if is_package else tree
        if own.body:
            modules[name] = own
            bound = bindings(_nodes(tree), name, is_package)
            used = set(_used(own, name, is_package, bound))
            waiting += [module for each in used for module in _defining(each, packages)]
    return modules


def _left_out(name: str) -> bool:
    return any(f"{name}.".startswith(f"{module}.") for module in LEFT_OUT)


def _without_exports(tree: ast.Module) -> ast.Module:
    """What an `__init__` does besides saying what the package exports."""
    return ast.Module([statement for statement in tree.body if not _exports(statement)], [])


def _exports(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.ImportFrom):
        return True
    if isinstance(statement, ast.If):
        return _for_types(statement)
    if isinstance(statement, ast.FunctionDef):
        return statement.name in ("__getattr__", "__dir__")
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        return all(isinstance(target, ast.Name) and target.id in _EXPORTS for target in targets)
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _for_types(node: ast.AST) -> bool:
    """Whether it is a block that is never run, `if TYPE_CHECKING:`."""
    return isinstance(node, ast.If) and chain_of(node.test).rpartition(".")[2] == "TYPE_CHECKING"


@cache
def _nodes(tree: ast.Module) -> tuple[ast.AST, ...]:
    """The imports, calls and names that matter at run time, of `a.b.c` the whole and not its beginnings."""
    found: list[ast.AST] = []
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import | ast.ImportFrom | ast.Call | ast.Name | ast.Attribute):
            found.append(node)
        if not (isinstance(node, ast.Name | ast.Attribute) and chain_of(node)):
            run = node.orelse if isinstance(node, ast.If) and _for_types(node) else ast.iter_child_nodes(node)
            waiting += reversed(list(run))
    return tuple(found)


def _used(
    tree: ast.Module, module: str, is_package: bool, bound: Mapping[str, str] | None = None
) -> Iterator[str]:
    """The dotted names, spelt out in full, that code imports or reads; one that ends with `.*` is all of it.

    Importing a name counts as using it, with one exception: a package that is imported is used only as far as
    something in it is (`_defining` sees to that).
    """
    bound = bindings(_nodes(tree), module, is_package) if bound is None else bound
    for node in _nodes(tree):
        if isinstance(node, ast.Import):
            yield from (f"{alias.name}:" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = base_module(node, module, is_package)
            yield from (f"{base}.{alias.name}" + ("" if alias.name == "*" else ":") for alias in node.names)
        elif isinstance(node, ast.Call) and chain_of(node.func).rpartition(".")[2] == "import_module":
            named = node.args[0] if node.args else None
            if isinstance(named, ast.Constant) and isinstance(named.value, str):
                yield f"{named.value}.*"
        elif chain := chain_of(node):
            first, dot, rest = chain.partition(".")
            if first in bound:
                yield bound[first] + dot + rest


def _defining(name: str, packages: Mapping[str, Path]) -> Iterator[str]:
    """The modules that define what a name of `_used` stands for.

    A name that ends with a colon was imported: as a package it is not yet used.
    """
    imported = name.endswith(":")
    name = name.removesuffix(":")
    if name.partition(".")[0] not in packages:
        return
    found = defined_at(name, packages).partition(":")[0]
    if not found:
        # Something that the code does not spell out, of the module or package that comes nearest.
        imported = False
        found = name
        while found and module_path(found, packages) is None:
            found = found.rpartition(".")[0]
    path = module_path(found, packages)
    if path is None:
        return
    yield found
    if path.name == "__init__.py" and not imported and ":" not in defined_at(name, packages):
        for inside in sorted(path.parent.rglob("*.py")):
            parts = inside.relative_to(path.parent).with_suffix("").parts
            yield ".".join([found, *(part for part in parts if part != "__init__")])
