"""Which objects of the library some code uses, found by reading it, never by running it.

An object has many names: `lab.check`, `surveylab.lab.check` and `surveylab.lab.evidence.check` are one. All
lead to where it is defined: by that chapters and API reference find each other, and a chapter's fingerprint
finds the modules that decide its results.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

from surveylab.press.project import Notebook, PressError, text_of
from surveylab.press.run.sources import parse_cell


def module_path(name: str, packages: Mapping[str, Path]) -> Path | None:
    """The file of a module in one of `packages`, or None where there is none of that name."""
    first, *rest = name.split(".")
    if first not in packages:
        return None
    base = packages[first].joinpath(*rest)
    # A name imported from a module may be a function of it: then no file answers, and the module itself
    # counts.
    candidates = [base / "__init__.py"] + ([base.with_name(base.name + ".py")] if rest else [])
    return next((path for path in candidates if path.is_file()), None)


def parsed_cells(notebook: Notebook, name: str) -> Iterator[ast.Module]:
    """The syntax tree of each code cell.

    Raises:
        PressError: a cell is not Python.
    """
    for number, cell in enumerate(notebook["cells"], start=1):
        if cell["cell_type"] == "code":
            try:
                yield parse_cell(text_of(cell))
            except SyntaxError as error:
                raise PressError(f"{name}: cell {number} is not Python: {error.msg}") from error


def used_names(notebook: Notebook, name: str, packages: Mapping[str, Path]) -> list[str]:
    """The dotted names from `packages` that a notebook's code imports or reads, each spelt out in full.

    Raises:
        PressError: a cell is not Python.
    """
    bound: dict[str, str] = {}
    found: dict[str, None] = {}
    for tree in parsed_cells(notebook, name):
        bound |= bindings(ast.walk(tree))
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                found |= dict.fromkeys(bindings([node]).values())
            elif chain := chain_of(node):
                first, dot, rest = chain.partition(".")
                if first in bound:
                    found[bound[first] + dot + rest] = None
    return sorted(full for full in found if full.split(".")[0] in packages)


def bindings(nodes: Iterable[ast.AST], module: str = "", is_package: bool = False) -> dict[str, str]:
    """What each name that the import statements among some nodes of a module give stands for."""
    bound = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.partition(".")[0]
                bound[alias.asname or first] = alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom):
            base = base_module(node, module, is_package)
            bound |= {alias.asname or alias.name: f"{base}.{alias.name}" for alias in node.names}
    return bound


def chain_of(node: ast.AST) -> str:
    """`a.b.c` for an expression of that form, else an empty string."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (before := chain_of(node.value)):
        return f"{before}.{node.attr}"
    return ""


def defined_at(name: str, packages: Mapping[str, Path]) -> str:
    """Where an object is defined: its module, a colon, and its name there; the module alone for a module.

    Empty for a name that leads out of `packages`, or to nothing that the code spells out.
    """
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        module, inside = ".".join(parts[:length]), parts[length:]
        path = module_path(module, packages)
        if path is None:
            continue
        if not inside:
            return _hidden_by(name, packages) or name
        if place := _inside(module, path, inside, packages):
            return place
    return ""


def _hidden_by(module: str, packages: Mapping[str, Path]) -> str:
    """Where the object is defined that a package imports under the name of a module in it."""
    package, _, last = module.rpartition(".")
    path = module_path(package, packages) if package else None
    place = _inside(package, path, [last], packages) if path else ""
    return "" if place == module else place


def _inside(module: str, path: Path, inside: list[str], packages: Mapping[str, Path]) -> str:
    """Where a name that a module holds is defined, imports followed; empty if it spells out none such."""
    is_package = path.name == "__init__.py"
    for node in _top_level(parsed_module(path)):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == inside[0]:
                    target = f"{base_module(node, module, is_package)}.{alias.name}"
                    if target != f"{module}.{alias.name}":
                        return defined_at(".".join([target, *inside[1:]]), packages)
                    # A module of the package itself; what lies inside it was looked for there already.
                    return target if len(inside) == 1 else ""
        elif inside[0] in _names(node):
            return f"{module}:{'.'.join(inside)}"
    return ""


def parsed_module(path: Path) -> ast.Module:
    """The syntax tree of a module.

    Raises:
        PressError: it is not Python.
    """
    try:
        return _parsed(path.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise PressError(f"{path}:{error.lineno}: not Python: {error.msg}") from error


@cache
def _parsed(code: str) -> ast.Module:
    return ast.parse(code)


@cache
def _top_level(tree: ast.Module) -> tuple[ast.stmt, ...]:
    """The statements of a module, those under a condition included."""
    found: list[ast.stmt] = []
    for node in tree.body:
        found.append(node)
        if isinstance(node, ast.If | ast.Try):
            found += [child for child in ast.walk(node) if isinstance(child, ast.stmt)]
    return tuple(found)


def base_module(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    """The module that a from-import reads, a relative one seen from the module where it stands."""
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    above = parts[: len(parts) - node.level + is_package]
    return ".".join([*above, node.module] if node.module else above)


def _names(node: ast.stmt) -> set[str]:
    """The names that a statement defines."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Assign):
        return {target.id for target in node.targets if isinstance(target, ast.Name)}
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return {node.target.id}
    return set()


def public_name(name: str, packages: Mapping[str, Path]) -> str:
    """The name under which the API reference describes an object: as its room exports it, if it does."""
    place = defined_at(name, packages)
    parts = name.split(".")
    rooms = (".".join([*parts[:length], parts[-1]]) for length in range(1, len(parts) - 1))
    return next((short for short in rooms if place and defined_at(short, packages) == place), name)
