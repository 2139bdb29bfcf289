"""What a chapter's result depends on, reduced to hashes: when they are unchanged the chapter is fresh.

The parts are the source cells, the modules of the library that the cells import (directly or through one
another, found by reading the code, never by running it), the chapter's claims as far as they decide a
verdict, the tuned learning rates and the parameters. Comments and docstrings are not in it, nor are versions
and hardware: those are provenance.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surveylab.press.project import Notebook, PressError, Project, listed, text_of
from surveylab.press.run.sources import parse_cell, read_source

# The press decides no result, so a change to it makes no chapter stale.
LEFT_OUT = ("surveylab.press",)


@dataclass(frozen=True)
class Fingerprint:
    """One hash of everything, and the hashes of the parts, which tell *what* changed."""

    digest: str
    parts: dict[str, Any]

    def changes(self, published: Mapping[str, Any]) -> list[str]:
        """What has changed since `published` parts were stored; text and titles of the source are not in it.

        Text that changed needs no execution: `surveylab.press.run.refresh` carries it over.
        """
        found = []
        if self.parts["code"] != published.get("code"):
            found.append("source: code cells changed")
        for part in ("library", "claims"):
            found += [f"{part}: {change}" for change in _changed(self.parts[part], published.get(part) or {})]
        if self.parts["tuning"] != published.get("tuning"):
            found.append("tuning: learning rates changed")
        if self.parts["parameters"] != published.get("parameters"):
            found.append("parameters: other profile or seed")
        return found


def _changed(now: Mapping[str, str], then: Mapping[str, str]) -> Iterator[str]:
    kinds = {
        "changed": [name for name in now if name in then and now[name] != then[name]],
        "added": [name for name in now if name not in then],
        "removed": [name for name in then if name not in now],
    }
    for word, names in kinds.items():
        if names:
            yield f"{listed(sorted(names))} {word}"


def fingerprint(
    project: Project,
    chapter: str,
    *,
    profile: str = "standard",
    seed: int = 0,
    packages: Mapping[str, Path] | None = None,
) -> Fingerprint:
    """Compute a chapter's fingerprint from the working tree.

    Args:
        project: the checkout.
        chapter: `section/chapter`.
        profile: of the run that is or would be published.
        seed: likewise. The device is no parameter here: it is hardware.
        packages: name and folder of each package whose code counts; default `library_packages(project)`.

    Raises:
        PressError: a cell or module cannot be parsed.
        ChapterFailed: the source cannot be read, or not be executed as it stands.
    """
    source = read_source(project, chapter)
    packages = library_packages(project) if packages is None else packages
    modules = imported_modules(notebook_imports(source, project.shown(project.source(chapter))), packages)
    tuning = project.tuning(chapter)
    parts: dict[str, Any] = {
        "code": _hash([text_of(cell) for cell in source["cells"] if cell["cell_type"] == "code"]),
        "text": _hash([[cell["cell_type"], text_of(cell)] for cell in source["cells"]]),
        "library": {name: _hash(canonical(tree)) for name, tree in sorted(modules.items())},
        "claims": {id: _hash(claim.judged()) for id, claim in sorted(project.claims_of(chapter).items())},
        "tuning": _hash(_read_json(tuning)) if tuning.exists() else None,
        "parameters": _hash({"profile": profile, "seed": seed}),
    }
    return Fingerprint(_hash(parts, length=64), parts)


def library_packages(project: Project) -> dict[str, Path]:
    """The packages whose code decides results: those under the project's `src/`, and surveylab."""
    found = {init.parent.name: init.parent for init in sorted((project.root / "src").glob("*/__init__.py"))}
    if "surveylab" not in found:
        spec = importlib.util.find_spec("surveylab")
        if spec is not None and spec.submodule_search_locations:
            found["surveylab"] = Path(next(iter(spec.submodule_search_locations)))
    return found


def notebook_imports(notebook: Notebook, name: str) -> set[str]:
    """The modules that a notebook's code cells name in import statements."""
    found: set[str] = set()
    for number, cell in enumerate(notebook["cells"], start=1):
        if cell["cell_type"] == "code":
            try:
                found |= _imports(parse_cell(text_of(cell)), package="")
            except SyntaxError as error:
                raise PressError(f"{name}: cell {number} is not Python: {error.msg}") from error
    return found


def imported_modules(names: set[str], packages: Mapping[str, Path]) -> dict[str, ast.Module]:
    """Follow imports through `packages` and return every module reached, parsed.

    Importing a module runs its parents' `__init__`, so those are reached too.
    """
    modules: dict[str, ast.Module] = {}
    waiting = sorted(names)
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen or name.startswith(LEFT_OUT):
            continue
        seen.add(name)
        parent = name.rpartition(".")[0]
        if parent:
            waiting.append(parent)
        path = module_path(name, packages)
        if path is None:
            continue
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except SyntaxError as error:
            raise PressError(f"{path}:{error.lineno}: not Python: {error.msg}") from error
        modules[name] = tree
        waiting += sorted(_imports(tree, package=name if path.name == "__init__.py" else parent))
    return modules


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


def _imports(tree: ast.AST, package: str) -> set[str]:
    """Every module that an import statement anywhere in `tree` may mean, relative ones resolved."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - (node.level - 1)]
                base = ".".join([*above, base] if base else above)
            found.add(base)
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return found


def canonical(node: Any) -> Any:
    """Reduce a syntax tree to nested lists that are equal for equal code, on every Python version.

    Docstrings go. `ast.dump` would not do: newer versions add fields and leave empty ones out.
    """
    if isinstance(node, ast.AST):
        fields = []
        for name in node._fields:
            value = getattr(node, name, None)
            if name == "body" and value and _opens_with_docstring(node):
                value = value[1:]
            if name in ("ctx", "kind", "type_comment") or (name != "value" and value in (None, [])):
                continue
            fields.append([name, canonical(value)])
        return [type(node).__name__, fields]
    if isinstance(node, list):
        return [canonical(item) for item in node]
    return f"{type(node).__name__} {node!r}"


def _opens_with_docstring(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and bool(node.body)
        and isinstance(first := node.body[0], ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    )


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise PressError(f"{path} is not JSON: {error}; run `surveylab tune` again") from error


def _hash(value: Any, length: int = 16) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:length]
