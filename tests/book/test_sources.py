"""The chapters' sources are what an author edits: no outputs, one cell of parameters, ids that stay."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from surveylab.press.new import on_your_own

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "notebooks").rglob("*.ipynb"))
PARAMETERS = {"profile": "standard", "seed": 0, "device": "auto", "candidate": None}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_source_is_clean(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(ids) == len(set(ids))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert not cell["outputs"], f"cell {cell['id']} carries outputs: sources have none"
            assert cell["execution_count"] is None, f"cell {cell['id']} carries an execution count"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_source_has_the_parameters(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    tagged = [c for c in notebook["cells"] if "parameters" in c["metadata"].get("tags", [])]
    assert len(tagged) == 1
    given = {}
    for node in ast.parse("".join(tagged[0]["source"])).body:
        assert isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        given[node.targets[0].id] = ast.literal_eval(node.value)
    assert given == PARAMETERS


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_source_explains_itself_to_who_opens_it_alone(path: Path) -> None:
    """The same note in each, after the opening text; the book's page, which explains itself, hides it."""
    chapter = path.relative_to(ROOT / "notebooks").with_suffix("").as_posix()
    note = json.loads(path.read_text(encoding="utf-8"))["cells"][1]
    assert "".join(note["source"]) == on_your_own(chapter), "the note is that of surveylab.press.new"
    assert (note["id"], note["metadata"]) == ("on-your-own", {"tags": ["remove-cell"]})
    for word in ("`make lab`", '"smoke"', "some minutes", "99 % interval", f"book/{chapter}.ipynb"):
        assert word in "".join(note["source"])


PUBLISHED = sorted(path for path in (ROOT / "book").rglob("*.ipynb") if "full" not in path.parts)


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_a_published_chapter_takes_twenty_minutes_on_one_core_at_most(path: Path) -> None:
    """Twice what a chapter should cost: the machine that published it may have been busy."""
    record = json.loads(path.read_text(encoding="utf-8"))["metadata"]["surveylab"]
    assert record["profile"] == "standard"
    assert record["duration"] <= 1200, f"it took {record['duration']:.0f} s on {record['machine']}"
