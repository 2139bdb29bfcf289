"""What of an executed notebook is published: the source with its outputs, and nothing of its machine."""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from surveylab.press.project import INJECTED, ChapterFailed, Notebook


def assemble(source: Any, donor: Any) -> Any:
    """Put the outputs of an executed notebook under the cells of the source.

    All but outputs, execution counts and the injected cell comes from the source: so nothing that papermill
    or a kernel writes elsewhere (times, paths, tags, versions) can come between two equal runs.

    Args:
        source: the source, as nbformat reads it.
        donor: an execution of it, with as many code cells.
    """
    import nbformat

    result = nbformat.from_dict(json.loads(json.dumps(source)))
    result.metadata.pop("papermill", None)
    result.metadata["language_info"] = {
        "name": "python",
        "file_extension": ".py",
        "pygments_lexer": "ipython3",
    }
    cells = iter([cell for cell in donor.cells if cell.cell_type == "code"])
    assembled = []
    parameters = parameters_index(result)
    for index, cell in enumerate(result.cells):
        if cell.cell_type == "code":
            _take_outputs(cell, next(cells))
        assembled.append(cell)
        if index == parameters:
            given = next(cells)
            added = nbformat.v4.new_code_cell(source=given.source, id=INJECTED)
            added.metadata["tags"] = [INJECTED, "remove-cell"]
            _take_outputs(added, given)
            assembled.append(added)
    result.cells = assembled
    return result


def _take_outputs(cell: Any, given: Any) -> None:
    cell.execution_count = given.execution_count
    cell.outputs = given.outputs


def parameters_index(source: Any) -> int:
    """Which cell holds the parameters: papermill puts its own right after it."""
    tagged = (i for i, cell in enumerate(source["cells"]) if "parameters" in cell["metadata"].get("tags", []))
    return next(tagged)


def refuse_noise(chapter: str, notebook: Notebook, root: str) -> None:
    """Refuse what may not stand in a published page: warnings, and paths of the machine that ran it.

    Raises:
        ChapterFailed: with the cell and what it shows.
    """
    folders = {sys.prefix + os.sep, tempfile.gettempdir() + os.sep}
    paths = {root, str(Path(root).resolve()), *folders} - {"/", "//"}
    number = 0
    for cell in notebook["cells"]:
        number += INJECTED not in cell["metadata"].get("tags", [])
        for output in cell.get("outputs", []):
            if output["output_type"] == "stream" and output["name"] == "stderr":
                first = output["text"].strip().split("\n")
                raise ChapterFailed(
                    chapter,
                    f"cell {number} wrote to stderr, which would stand in the published page; fix what "
                    "it warns of:\n" + "\n".join(f"    | {line}" for line in first[:4]),
                )
            text = _texts(output)
            path = next((path for path in sorted(paths) if path in text), None)
            if path is not None or re.search(r"ipykernel_\d+", text):
                line = next(
                    (t for t in text.split("\n") if path and path in t), "a temporary file of the kernel"
                )
                raise ChapterFailed(
                    chapter,
                    f"cell {number} shows a path of this machine, which would stand in the published page:\n"
                    f"    | {line.strip()[:160]}",
                )


def _texts(output: Notebook) -> str:
    if output["output_type"] == "stream":
        return str(output["text"])
    found = []
    for kind, content in output.get("data", {}).items():
        if not kind.startswith("image/") or kind == "image/svg+xml":
            found.append(content if isinstance(content, str) else json.dumps(content))
    return "\n".join(found)
