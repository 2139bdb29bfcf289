"""Which objects of the library a chapter uses, found by reading its code, never by running it.

An object has many names: `lab.check`, `surveylab.lab.check` and `surveylab.lab.evidence.check` are one. All
lead to where it is defined, by which chapters and API reference find each other.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from surveylab.press.project import Notebook, PressError, text_of
from surveylab.press.run.fingerprint import module_path
from surveylab.press.run.sources import parse_cell


def used_names(notebook: Notebook, name: str, packages: Mapping[str, Path]) -> list[str]:
    """The dotted names from `packages` that a notebook's code imports or reads, each spelt out in full.

    Args:
        notebook: The chapter.
        name: What to call it in an error.
        packages: Name and folder of each package of the library.

    Raises:
        PressError: a cell is not Python.
    """
    bound: dict[str, str] = {}
    found: dict[str, None] = {}
    for number, cell in enumerate(notebook["cells"], start=1):
        if cell["cell_type"] != "code":
            continue
        try:
            tree = parse_cell(text_of(cell))
        except SyntaxError as error:
            raise PressError(f"{name}: cell {number} is not Python: {error.msg}") from error
        bound |= _bindings(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                found |= dict.fromkeys(_bindings(node).values())
            elif chain := _chain(node):
                first, dot, rest = chain.partition(".")
                if first in bound:
                    found[bound[first] + dot + rest] = None
    return sorted(full for full in found if full.split(".")[0] in packages)


def _bindings(tree: ast.AST) -> dict[str, str]:
    """What each name that an import statement gives stands for."""
    bound = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.split(".")[0]
                bound[alias.asname or first] = alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            bound |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return bound


def _chain(node: ast.AST) -> str:
    """`a.b.c` for an expression of that form, else an empty string."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (before := _chain(node.value)):
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
    for node in _top_level(path.read_text(encoding="utf-8")):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == inside[0]:
                    target = f"{_base(node, module, path)}.{alias.name}"
                    if target != f"{module}.{alias.name}":
                        return defined_at(".".join([target, *inside[1:]]), packages)
                    # A module of the package itself; what lies inside it was looked for there already.
                    return target if len(inside) == 1 else ""
        elif inside[0] in _names(node):
            return f"{module}:{'.'.join(inside)}"
    return ""


@cache
def _top_level(code: str) -> tuple[ast.stmt, ...]:
    """The statements of a module, those under a condition included."""
    found: list[ast.stmt] = []
    for node in ast.parse(code).body:
        found.append(node)
        if isinstance(node, ast.If | ast.Try):
            found += [child for child in ast.walk(node) if isinstance(child, ast.stmt)]
    return tuple(found)


def _base(node: ast.ImportFrom, module: str, path: Path) -> str:
    """The module that a from-import reads, a relative one seen from where it stands."""
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    above = parts[: len(parts) - node.level + (path.name == "__init__.py")]
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
