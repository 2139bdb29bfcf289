"""Reading a chapter's source: what matters of it, or one message with everything that is wrong.

Editors leave their own traces when they save: metadata, line endings, another layout, execution counts. None
of it is the author's, so none of it counts: two sources that differ in it only are one, and what is
published comes from what is left. All that execution or publication would stumble over is looked for here,
before anything runs.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
import warnings
from collections.abc import Iterator
from typing import Any

from surveylab.press.project import INJECTED, ChapterFailed, Notebook, Project

KERNEL = "python3"
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": KERNEL},
    "language_info": {"name": "python"},
}
"""The metadata of every source. Editors write their environment's name and version there."""

# What the pages are made with: MyST-NB reads `tags`, `mystnb` and the format of a raw cell.
CELL_METADATA = ("tags", "mystnb", "format", "raw_mimetype")
CELL_TYPES = ("code", "markdown", "raw")
ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
# Cell magics whose cell is Python all the same; the cell of any other one is not.
PYTHON_MAGICS = ("time", "timeit", "capture", "prun")


def read_source(project: Project, chapter: str) -> Notebook:
    """The source of a chapter, as `parse` gives it.

    Raises:
        ChapterFailed: it cannot be read, or not be executed as it stands.
    """
    path = project.source(chapter)
    name = project.shown(path)
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ChapterFailed(chapter, f"{name} cannot be read: {error.strerror or error}") from error
    return parse(chapter, name, raw)


def parse(chapter: str, name: str, raw: bytes) -> Notebook:
    """A source without what editors add: no outputs, counts or metadata of their own, each text one string.

    A cell without id, as notebooks before version 4.5 have them, gets one that follows from its text.

    Raises:
        ChapterFailed: with the file, and for each mistake the cell and what to do.
    """
    problems: list[str] = []
    content = _load(raw, problems)
    cells = _cells(content, problems)
    if not problems:
        problems += _faults(cells)
    if problems:
        reason = f"{name} cannot be executed as it stands:\n"
        raise ChapterFailed(chapter, reason + "\n".join(f"    | {problem}" for problem in problems))
    _give_ids(cells)
    metadata = dict(METADATA)
    if isinstance(own := content["metadata"].get("mystnb"), dict):
        metadata["mystnb"] = own
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def text_of_source(source: Notebook) -> str:
    """The source as the text of a file, laid out as nbformat does."""
    import nbformat

    return str(nbformat.writes(nbformat.from_dict(source))) + "\n"


def _load(raw: bytes, problems: list[str]) -> dict[str, Any]:
    """The file as data, if it is a notebook of a version that is known and of Python."""
    try:
        content = json.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        problems.append(f"it is not UTF-8 at byte {error.start}: save it as UTF-8")
        return {}
    except json.JSONDecodeError as error:
        problems.append(
            f"line {error.lineno}: it is not JSON ({error.msg}): restore the file, or correct that line (an "
            "unfinished merge leaves marks such as <<<<<<<)"
        )
        return {}
    except RecursionError:
        problems.append("it is nested too deeply to be a notebook: restore the file")
        return {}
    if isinstance(content, dict) and "worksheets" in content:
        content |= {"nbformat": 3, "cells": []}
    if not isinstance(content, dict) or not isinstance(content.get("cells"), list):
        problems.append("it is not a notebook, since it has no list of cells: restore the file")
        return {}
    if content.get("nbformat") != 4 or isinstance(content.get("nbformat"), bool):
        problems.append(
            f"its nbformat is {content.get('nbformat')!r} where it should be 4: open it in JupyterLab and "
            "save it, which brings it up to date"
        )
        return {}
    metadata = content.get("metadata")
    kernel = metadata.get("kernelspec") if isinstance(metadata, dict) else None
    found = kernel.get("name") if isinstance(kernel, dict) else None
    if found != KERNEL:
        problems.append(
            f"it has no kernelspec '{KERNEL}'"
            + (f", but {found!r}" if found else "")
            + f': choose the kernel "Python 3" in the editor, or put "kernelspec": '
            f"{json.dumps(METADATA['kernelspec'])} into its metadata"
        )
    return content


def _cells(content: dict[str, Any], problems: list[str]) -> list[Notebook]:
    """Its cells, with what matters of each."""
    found = []
    for number, cell in enumerate(content.get("cells", []), start=1):
        try:
            found.append(_cell(cell))
        except ValueError as error:
            problems.append(f"cell {number} {error}")
    return found


def _cell(cell: Any) -> Notebook:
    """What matters of a cell.

    Raises:
        ValueError: what is wrong with it, and what to do.
    """
    if not isinstance(cell, dict) or cell.get("cell_type") not in CELL_TYPES:
        kind = cell.get("cell_type") if isinstance(cell, dict) else cell
        raise ValueError(f"is no cell of a known type ({kind!r}): make it one of {', '.join(CELL_TYPES)}")
    id = cell.get("id") or None
    if id is not None and not (isinstance(id, str) and ID.fullmatch(id)):
        raise ValueError(f"has the id {id!r}: write at most 64 letters, digits, hyphens and underscores")
    result = {
        "cell_type": cell["cell_type"],
        "id": id,
        "metadata": _metadata(cell.get("metadata")),
        "source": _text(cell.get("source")),
    }
    if cell["cell_type"] == "code":
        result |= {"execution_count": None, "outputs": []}
    elif cell.get("attachments"):
        if not isinstance(cell["attachments"], dict):
            raise ValueError("has attachments that are no mapping: remove them")
        result["attachments"] = cell["attachments"]
    return result


def _metadata(given: Any) -> dict[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise ValueError(f"has metadata that are no mapping ({given!r}): write {{}}")
    kept = {key: given[key] for key in CELL_METADATA if given.get(key)}
    tags = kept.get("tags", [])
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise ValueError(f'has the tags {tags!r}: write a list of words, such as ["hide-input"]')
    if not isinstance(kept.get("mystnb", {}), dict):
        raise ValueError(f"has mystnb {kept['mystnb']!r} in its metadata: write a mapping, or remove it")
    return kept


def _text(given: Any) -> str:
    lines = [given] if isinstance(given, str) else given
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise ValueError("has no text: its source must be a string or a list of strings")
    text = "".join(lines).replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"holds half a character (\\u{ord(text[error.start]):04x}), which no file can: type it again"
        ) from error
    return text


def _faults(cells: list[Notebook]) -> Iterator[str]:
    """What is wrong with cells that are right each by itself, and code that is not Python."""
    first: dict[str, int] = {}
    parameters = []
    for number, cell in enumerate(cells, start=1):
        id, tags = cell["id"], cell["metadata"].get("tags", [])
        if id is not None and first.setdefault(id, number) != number:
            yield (
                f"cell {number} has the id '{id}' of cell {first[id]}: give it another one, or remove "
                "the cell if a merge left it twice"
            )
        if INJECTED in tags or id == INJECTED:
            yield f"cell {number} is called '{INJECTED}', as the one that an execution adds: remove it"
        if "parameters" in tags:
            parameters.append(number)
            if cell["cell_type"] != "code":
                yield f"cell {number} is tagged 'parameters' but is no code: tag the cell that sets `profile`"
        if cell["cell_type"] == "code":
            try:
                shown = _pictures(parse_cell(cell["source"]))
            except SyntaxError as error:
                line = f" (line {error.lineno} of it)" if error.lineno else ""
                yield f"cell {number} is not Python: {error.msg}{line}"
                continue
            if shown > 1 and "figure" in cell["metadata"].get("mystnb", {}):
                yield f"cell {number} {two_pictures(shown)}"
    if not parameters:
        yield "it has no cell tagged 'parameters': tag the one that sets `profile`, `seed` and `device`"
    elif len(parameters) > 1:
        numbers = " and ".join(map(str, parameters))
        yield f"cells {numbers} are all tagged 'parameters': leave the tag on one"


def _pictures(tree: ast.Module) -> int:
    """How often a cell shows a picture for certain: by `plt.show()` outside of loops and conditions."""
    calls = [
        node.value for node in tree.body if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    ]
    return sum(isinstance(call.func, ast.Attribute) and call.func.attr == "show" for call in calls)


def two_pictures(count: int) -> str:
    """What is wrong with a cell that has one caption and several pictures."""
    return f"has the caption of one figure and shows {count} pictures: draw them as one, or in a cell each"


def _give_ids(cells: list[Notebook]) -> None:
    """Give an id to cells that have none: it follows from the text, so that it is the same in every run."""
    taken = {cell["id"] for cell in cells}
    for cell in cells:
        turn = 0
        while cell["id"] is None:
            text = f"{cell['cell_type']}\n{cell['source']}\n{turn}"
            id = hashlib.sha256(text.encode()).hexdigest()[:8]
            if id not in taken:
                cell["id"] = id
                taken.add(id)
            turn += 1


def parse_cell(code: str) -> ast.Module:
    """The syntax tree of a cell, in which IPython's own syntax (`%time`, `!ls`, `%%bash`) is what it calls.

    Raises:
        SyntaxError: it is neither Python nor IPython.
    """
    try:
        return _parse(code)
    except SyntaxError:
        # Seldom needed, and slow to import.
        from IPython.core.inputtransformer2 import TransformerManager

        magic = re.match(r"\s*%%(\w+).*", code)
        if magic and magic[1] in PYTHON_MAGICS:
            # Its lines stay where they are.
            return parse_cell(code[: magic.start(1) - 2] + "pass" + code[magic.end() :])
        return _parse(TransformerManager().transform_cell(code))


def _parse(code: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what it warns, the kernel warns
            return ast.parse(code)
    except (ValueError, RecursionError, MemoryError) as error:
        # A null byte, or nesting beyond what the parser can take.
        raise SyntaxError(str(error) or "nested too deeply") from error
