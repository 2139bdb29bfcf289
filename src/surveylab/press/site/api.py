"""The pages of the API reference. They follow from the code of each package, which is read, not imported.

An object is described under the name by which its package exports it, the others under the module that holds
them: the names that chapters use when they link here.
"""

from __future__ import annotations

import ast
import pkgutil
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from surveylab.press.review_text import Section
from surveylab.press.run.usage import public_name

# Of the command's help, whatever the width of the terminal.
WIDTH = 78
_LIBRARY = "surveylab"
_TITLES = {"lab": "The lab", "claims": "Claims and verdicts"}
_EXCEPTIONS = ("Error", "Exception", "Warning")  # how the names of their bases end
_UNSHOWN = {"press", "packaged"}  # of the press a reader needs the command alone; the other holds no code


def api_pages(packages: Mapping[str, Path], review: Iterable[Section]) -> dict[str, str]:
    """The pages by their names below `api/`, in reading order: the sections, lab, claims, the command.

    Args:
        review: The review's sections; their titles are those of their pages.
    """
    folder = packages[_LIBRARY]
    sections = {section.name: section.title for section in review}
    titles = {name: sections.get(name, name) for name in sections} | _TITLES
    there = sorted(init.parent.name for init in folder.glob("*/__init__.py"))
    order = [*(name for name in titles if name in there), *(name for name in there if name not in titles)]
    shown = {name: titles.get(name, name) for name in order if name not in _UNSHOWN}
    return {
        "index": _index({name: _first_sentence(folder / name / "__init__.py") for name in shown}),
        **{name: _package(f"{_LIBRARY}.{name}", title, packages) for name, title in shown.items()},
        "cli": _command(),
    }


def _index(shown: Mapping[str, str]) -> str:
    lines = [f"- [`{_LIBRARY}.{name}`]({name}.md): {about}" for name, about in shown.items()]
    return "\n".join(
        [
            "# Library\n",
            f"```{{eval-rst}}\n.. py:module:: {_LIBRARY}\n```\n",
            "What the chapters are made of can be used without them.\n",
            *lines,
            f"- [`{_LIBRARY}`](cli.md): the command that runs, verifies and builds the book.\n",
            "Under an object stands which chapters use it; at its end, each chapter names what it uses.\n",
        ]
    )


def _first_sentence(path: Path) -> str:
    """The first sentence of a module's docstring."""
    text = " ".join((ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split())
    return re.split(r"(?<=[.!?]) ", text, maxsplit=1)[0]


def _package(name: str, title: str, packages: Mapping[str, Path]) -> str:
    """A package's page: what it is, then each of its modules with the objects that it defines."""
    folder = packages[_LIBRARY].joinpath(*name.split(".")[1:])
    modules = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if parts and not any(part.startswith("_") for part in parts):
            modules[".".join(parts)] = path
    directives = {
        module: list(_objects(f"{name}.{module}", path, packages)) for module, path in modules.items()
    }
    described = {full for found in directives.values() for full, _ in found}
    text = [f"# {title}\n", _rst(f".. automodule:: {name}\n")]
    for module, found in directives.items():
        # A function that is exported under the name of its module has the name in the index for itself.
        hidden = "   :no-index:\n" if f"{name}.{module}" in described else ""
        text += [f"## {module}\n", _rst(f".. automodule:: {name}.{module}\n{hidden}", *(d for _, d in found))]
    return "\n".join(text)


def _rst(*directives: str) -> str:
    return "```{eval-rst}\n" + "\n".join(directives) + "```\n"


def _objects(module: str, path: Path, packages: Mapping[str, Path]) -> Iterator[tuple[str, str]]:
    """The public name and the directive of each object that a module defines and the reference shows.

    All that a package exports is shown; of the rest, what has a description.
    """
    code = path.read_text(encoding="utf-8")
    body = ast.parse(code).body
    for node, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            name, about = node.name, ast.get_docstring(node) or ""
        else:
            name, about = _constant(node), _comment(code, node) or _text(after)
        if not name or name.startswith("_"):
            continue
        full = public_name(f"{module}.{name}", packages)
        owner = full.rpartition(".")[0]
        if not about and owner == module:
            continue
        match node:
            case ast.ClassDef() if any(ast.unparse(base).endswith(_EXCEPTIONS) for base in node.bases):
                kind = f".. autoexception:: {name}\n   :members:\n"
            case ast.ClassDef():
                kind = f".. autoclass:: {name}{_constructor(node)}\n   :members:\n"
            case ast.FunctionDef():
                kind = f".. autofunction:: {name}\n"
            case _:  # autodoc finds no comment of a constant that another module exports
                kind = f".. py:data:: {name}\n" + (f"\n   {about}\n" if about else "")
        yield full, f".. currentmodule:: {owner}\n\n{kind}"


def _constructor(node: ast.ClassDef) -> str:
    """The signature of a dataclass, with its defaults as its code has them; empty for other classes.

    What Python itself tells of a default that is a function or made by one cannot be read. A dataclass with a
    base has fields that stand elsewhere, and one with an `__init__` says itself what it takes.
    """
    named = (_options(decorator, "dataclass") for decorator in node.decorator_list)
    options = next((found for found in named if found is not None), None)
    own = any(isinstance(part, ast.FunctionDef) and part.name == "__init__" for part in node.body)
    if (
        options is None
        or node.bases
        or own
        or ast.unparse(options.get("init", ast.Constant(True))) == "False"
    ):
        return ""
    fields = [_parameter(part) for part in node.body if isinstance(part, ast.AnnAssign)]
    parameters = [parameter for parameter in fields if parameter]
    if parameters and ast.unparse(options.get("kw_only", ast.Constant(False))) == "True":
        parameters.insert(0, "*")
    return f"({', '.join(parameters)})"


def _parameter(field: ast.AnnAssign) -> str:
    """What a field of a dataclass is in its constructor; empty if it is not there."""
    annotation = ast.unparse(field.annotation)
    if re.match(r"(typing\.)?ClassVar\b", annotation):
        return ""
    if re.fullmatch(r"(dataclasses\.)?KW_ONLY", annotation):
        return "*"
    default = field.value
    options = _options(default, "field") if isinstance(default, ast.Call) else None
    if options is not None:
        if ast.unparse(options.get("init", ast.Constant(True))) == "False":
            return ""
        made = ast.Constant(...) if "default_factory" in options else None
        default = options.get("default", made)
    name = f"{ast.unparse(field.target)}: {annotation}"
    return name if default is None else f"{name} = {ast.unparse(default)}"


def _options(node: ast.expr, name: str) -> dict[str | None, ast.expr] | None:
    """The keywords with which a function of `dataclasses` is named; None if it is another one."""
    function = node.func if isinstance(node, ast.Call) else node
    if ast.unparse(function).removeprefix("dataclasses.") != name:
        return None
    return {option.arg: option.value for option in node.keywords} if isinstance(node, ast.Call) else {}


def _constant(node: ast.stmt) -> str:
    """The name that an assignment gives a value to."""
    if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return node.target.id
    return ""


def _comment(code: str, node: ast.stmt) -> str:
    """The description above a constant, in lines that begin with `#:`."""
    lines = code.splitlines()[: node.lineno - 1]
    found: list[str] = []
    while lines and lines[-1].startswith("#:"):
        found.insert(0, lines.pop().removeprefix("#:").strip())
    return " ".join(found)


def _text(node: ast.stmt | None) -> str:
    """The description below a constant: a string that stands for itself."""
    value = node.value if isinstance(node, ast.Expr) else None
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return " ".join(value.value.split())
    return ""


def _command() -> str:
    """The help of `surveylab` and of each of its commands, as a page."""
    import click

    # By its name, as autodoc finds what it describes: the command imports this package to build the book.
    cli: click.Group = pkgutil.resolve_name("surveylab.press.cli:cli")

    def help_of(command: click.Command, name: str, parent: click.Context | None = None) -> str:
        settings = {"terminal_width": WIDTH, **command.context_settings}
        context = click.Context(command, info_name=name, parent=parent, **settings)
        return f"```text\n{command.get_help(context)}\n```\n"

    top = click.Context(cli, info_name="surveylab", **cli.context_settings)
    parts = [
        "# The command `surveylab`\n",
        "What the command says of itself and of each of its parts when it is asked with `--help`.\n",
        help_of(cli, "surveylab"),
    ]
    parts += [f"## {name}\n\n{help_of(command, name, top)}" for name, command in cli.commands.items()]
    return "\n".join(parts)
