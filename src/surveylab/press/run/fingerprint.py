"""What a chapter's result depends on, reduced to hashes: when they are unchanged the chapter is fresh.

The parts are the source cells, the modules of the library that define what the cells use (directly or through
one another: `surveylab.press.run.reach`), the chapter's claims as far as they decide a verdict, the tuned
learning rates and the parameters. Comments and docstrings are not in it, nor are versions and hardware: those
are provenance.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from surveylab.press.project import PressError, Project, listed, text_of
from surveylab.press.run.reach import reached_modules
from surveylab.press.run.sources import read_source
from surveylab.press.run.usage import parsed_cells


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
            found.append("code cells changed")
        for part, words in _WORDS.items():
            found += _changed(self.parts[part], published.get(part) or {}, words)
        if self.parts["tuning"] != published.get("tuning"):
            found.append("learning rates changed")
        if self.parts["parameters"] != published.get("parameters"):
            found.append("another profile or seed")
        return found


# What to say of the names in a part that are in both and differ, only in the new one, only in the old one.
_WORDS = {
    "library": ("library code changed", "library code newly used", "library code no longer used"),
    "claims": ("claims changed in what is judged", "claims added", "claims removed"),
}


def _changed(now: Mapping[str, str], then: Mapping[str, str], words: tuple[str, str, str]) -> Iterator[str]:
    kinds = (
        [name for name in now if name in then and now[name] != then[name]],
        [name for name in now if name not in then],
        [name for name in then if name not in now],
    )
    for word, names in zip(words, kinds, strict=True):
        if names:
            yield f"{word}: {listed(sorted(names))}"


def fingerprint(
    project: Project,
    chapter: str,
    *,
    profile: str = "standard",
    seed: int | None = None,
    packages: Mapping[str, Path] | None = None,
) -> Fingerprint:
    """Compute a chapter's fingerprint from the working tree.

    Args:
        profile: of the run that is or would be published.
        seed: likewise; by default the chapter's own. The device is no parameter here: it is hardware.
        packages: name and folder of each package whose code counts; default `library_packages(project)`.

    Raises:
        PressError: a cell or module cannot be parsed.
        ChapterFailed: the source cannot be read, or not be executed as it stands.
    """
    source = read_source(project, chapter)
    packages = library_packages(project) if packages is None else packages
    modules = reached_modules(parsed_cells(source, project.shown(project.source(chapter))), packages)
    tuning = project.tuning(chapter)
    parts: dict[str, Any] = {
        "code": _hash([text_of(cell) for cell in source["cells"] if cell["cell_type"] == "code"]),
        "text": _hash([[cell["cell_type"], text_of(cell)] for cell in source["cells"]]),
        "library": {name: _code_hash(tree) for name, tree in sorted(modules.items())},
        "claims": {id: _hash(claim.judged()) for id, claim in sorted(project.claims_of(chapter).items())},
        "tuning": _hash(_read_json(tuning)) if tuning.exists() else None,
        "parameters": _hash({"profile": profile, "seed": project.seed(chapter) if seed is None else seed}),
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


@cache
def _code_hash(tree: ast.Module) -> str:
    return _hash(canonical(tree))


def _hash(value: Any, length: int = 16) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:length]
