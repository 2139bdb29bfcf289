"""A chapter's source: what editors leave in it does not count, what is wrong with it is said at once."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_project import card, read, write_notebook

from surveylab.press.project import ChapterFailed
from surveylab.press.run import executor as execution
from surveylab.press.run.sources import parse, parse_cell, text_of_source

NAME = "notebooks/demo/one.ipynb"


def source_of(root: Path) -> Path:
    return root / NAME


def changed(path: Path, change: Callable[[Any], Any]) -> None:
    """Change a notebook as plain data: what the change returns is written, else what it was given."""
    notebook = read(path)
    result = change(notebook)
    path.write_text(json.dumps(notebook if result is None else result), encoding="utf-8")


def cell(number: int, **fields: Any) -> Callable[[Any], None]:
    return lambda notebook: notebook["cells"][number - 1].update(fields)


def without(number: int, field: str) -> Callable[[Any], None]:
    return lambda notebook: notebook["cells"][number - 1].pop(field) and None


def deep(notebook: Any) -> Any:
    notebook["cells"][2]["source"] = "x = " + "(" * 300 + "1" + ")" * 300


# ------------------------------------------------------------------------------------------------ malformed

# What was done to the file: all bytes of it, or a change of the notebook; and what is said.
MALFORMED: dict[str, tuple[bytes | Callable[[Any], Any], str]] = {
    "empty": (b"", "line 1: it is not JSON"),
    "not JSON": (b'{"cells": [\n', "line 2: it is not JSON"),
    "a merge": (b'{\n<<<<<<< HEAD\n "cells": []}', "line 2: it is not JSON"),
    "not UTF-8": (b'{"cells": "\xff"}', "it is not UTF-8 at byte 11: save it as UTF-8"),
    "too deep": (b"[" * 100_000, "nested too deeply"),
    "a list": (b"[]", "it is not a notebook"),
    "a number": (b"3", "it is not a notebook"),
    "no cells": (b'{"nbformat": 4, "metadata": {}}', "no list of cells"),
    "cells are a mapping": (lambda nb: nb.update(cells={}), "no list of cells"),
    "cells are empty": (lambda nb: nb.update(cells=[]), "no cell tagged 'parameters'"),
    "version 3": (lambda nb: {"nbformat": 3, "metadata": {}, "worksheets": []}, "nbformat is 3 where"),
    "version 5": (lambda nb: nb.update(nbformat=5), "its nbformat is 5 where it should be 4"),
    "no version": (lambda nb: nb.pop("nbformat") and None, "its nbformat is None"),
    "version is true": (lambda nb: nb.update(nbformat="4"), "its nbformat is '4'"),
    "no metadata": (lambda nb: nb.pop("metadata") and None, "it has no kernelspec 'python3': choose"),
    "null metadata": (lambda nb: nb.update(metadata=None), "it has no kernelspec 'python3': choose"),
    "kernelspec is a word": (lambda nb: nb.update(metadata={"kernelspec": "python3"}), "no kernelspec"),
    "another kernel": (lambda nb: nb["metadata"]["kernelspec"].update(name="ir"), "'python3', but 'ir'"),
    "no parameters": (cell(2, metadata={}), "it has no cell tagged 'parameters': tag the one that sets"),
    "parameters tags null": (cell(2, metadata={"tags": None}), "it has no cell tagged 'parameters'"),
    "parameters twice": (cell(4, metadata={"tags": ["parameters"]}), "cells 2 and 4 are all tagged"),
    "parameters in prose": (cell(1, metadata={"tags": ["parameters"]}), "cell 1 is tagged 'parameters' but"),
    "tags are a word": (cell(3, metadata={"tags": "hide-input"}), "cell 3 has the tags 'hide-input': write"),
    "tags are numbers": (cell(3, metadata={"tags": [1]}), "cell 3 has the tags [1]: write"),
    "mystnb is a word": (cell(3, metadata={"mystnb": "figure"}), "cell 3 has mystnb 'figure'"),
    "metadata are a list": (cell(3, metadata=[]), "cell 3 has metadata that are no mapping"),
    "a papermill cell": (cell(3, metadata={"tags": ["injected-parameters"]}), "cell 3 is called 'injected"),
    "a papermill id": (cell(3, id="injected-parameters"), "cell 3 is called 'injected-parameters'"),
    "ids alike": (cell(5, id="code-0"), "cell 5 has the id 'code-0' of cell 3: give it another one"),
    "an id with blanks": (cell(3, id="my cell"), "cell 3 has the id 'my cell': write at most 64"),
    "an id too long": (cell(3, id="x" * 65), "write at most 64 letters"),
    "an id is a number": (cell(3, id=7), "cell 3 has the id 7: write"),
    "a cell is null": (lambda nb: nb["cells"].insert(2, None), "cell 3 is no cell of a known type (None)"),
    "a type of old": (cell(1, cell_type="heading"), "cell 1 is no cell of a known type ('heading')"),
    "a type is a list": (cell(1, cell_type=[]), "cell 1 is no cell of a known type ([])"),
    "no type": (without(1, "cell_type"), "cell 1 is no cell of a known type (None)"),
    "no source": (without(3, "source"), "cell 3 has no text"),
    "source is a number": (cell(3, source=7), "cell 3 has no text"),
    "source of numbers": (cell(3, source=["x", 7]), "cell 3 has no text"),
    "attachments are a list": (cell(1, attachments=["x"]), "cell 1 has attachments that are no mapping"),
    "half a character": (cell(1, source="# \ud83d"), "cell 1 holds half a character (\\ud83d)"),
    "not Python": (cell(4, source="x = 1\ndef"), "cell 4 is not Python: invalid syntax (line 2 of it)"),
    "two pictures": (
        cell(4, metadata={"mystnb": {"figure": {"caption": "One."}}}, source="plt.show()\nplt.show()"),
        "cell 4 has the caption of one figure and shows 2 pictures: draw them as one, or in a cell each",
    ),
    "a null byte": (cell(4, source="x = '\0'"), "cell 4 is not Python"),
    "code too deep": (deep, "cell 3 is not Python: too many nested parentheses"),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_source_is_one_message_before_anything_runs(root, page, surveylab, monkeypatch, what):
    monkeypatch.setattr(execution, "perform", lambda *_: pytest.fail("executed for nothing"))
    change, expected = MALFORMED[what]
    path = source_of(root)
    if isinstance(change, bytes):
        path.write_bytes(change)
    else:
        changed(path, change)
    before, mistake = page.read_bytes(), path.read_bytes()
    for command in (["status"], ["run"], ["run", "--force"], ["verify"], ["tune", "one"]):
        said = surveylab(*command)
        assert said.code == 1, command
        answer = said.out + said.err
        assert f"demo/one: {NAME} cannot be executed as it stands:\n    | " in answer, command
        assert expected in answer, command
    assert page.read_bytes() == before and path.read_bytes() == mistake


def test_all_mistakes_are_said_at_once(root, surveylab):
    def change(notebook):
        notebook["metadata"] = {}
        notebook["cells"][2]["id"] = 7
        notebook["cells"][4]["source"] = None

    changed(source_of(root), change)
    said = surveylab("run")
    assert said.out.count("    | ") == 3
    assert "kernelspec" in said.out and "cell 3 has the id 7" in said.out and "cell 5 has no text" in said.out


def test_a_malformed_source_does_not_hide_how_the_others_stand(root, surveylab):
    (root / "notebooks/demo/two.ipynb").write_text("{")
    said = surveylab("status")
    assert said.code == 1
    assert "demo/one  fresh" in said.out and "demo/two  unreadable" in said.out
    assert "demo/two: notebooks/demo/two.ipynb cannot be executed" in said.out
    said = surveylab("run")
    assert said.code == 1 and "demo/one: fresh" in said.out


def test_a_folder_in_place_of_a_source(root, surveylab):
    (root / "notebooks/demo/two.ipynb").mkdir()
    said = surveylab("run")
    assert said.code == 1 and "demo/two: notebooks/demo/two.ipynb cannot be read: Is a directory" in said.out


# --------------------------------------------------------------------------------- what an editor's save adds


def vs_code(notebook):
    """As VS Code saves it: its environment's name, languages, attachments, another minor version."""
    notebook["metadata"] = {
        "language_info": {"version": "3.12.1", "name": "python", "codemirror_mode": {"name": "ipython"}},
        "kernelspec": {"name": "python3", "language": "python", "display_name": ".venv (3.12.1)"},
        "vscode": {"interpreter": {"hash": "31f2"}},
        "orig_nbformat": 4,
    }
    notebook["nbformat_minor"] = 2
    for each in notebook["cells"]:
        each["metadata"] = {**each["metadata"], "vscode": {"languageId": "python"}}
        if each["cell_type"] == "markdown":
            each["attachments"] = {}
        each["source"] = ["".join(each["source"]) + "\n"]
    return dict(reversed(notebook.items()))


def jupyter_lab(notebook):
    """As JupyterLab saves it after its cells were run."""
    notebook["metadata"] |= {"widgets": {}, "toc-autonumbering": True}
    for count, each in enumerate(notebook["cells"]):
        each["metadata"] = {
            "execution": {"iopub.execute_input": "2026-01-01T00:00:00Z"},
            "jupyter": {"source_hidden": True},
            "editable": True,
            "slideshow": {"slide_type": ""},
            "tags": [],
            **each["metadata"],
        }
        if each["cell_type"] == "code":
            each["execution_count"] = count
            each["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["/home/me\n"]}]
    return notebook


def windows(notebook):
    for each in notebook["cells"]:
        each["source"] = "".join(each["source"]).replace("\n", "\r\n")


def nulls(notebook):
    """As some converters write it."""
    for each in notebook["cells"][2:]:
        each["metadata"] = None if each["id"] == "code-0" else {"tags": None, "collapsed": None}


def with_two_lines(root: Path) -> None:
    """A source whose cells have several lines each, and metadata that matter, published."""
    path = source_of(root)
    notebook = read(path)
    notebook["cells"][0]["source"] = "# demo/one\n\nSome text.\n\nMore."
    notebook["cells"][3]["metadata"] = {"tags": ["hide-input"], "mystnb": {"image": {"alt": "A dot."}}}
    write_notebook(path, notebook)


@pytest.mark.parametrize("save", [vs_code, jupyter_lab, windows, nulls])
def test_a_source_that_an_editor_saved_unchanged_stays_fresh(root, page, surveylab, save):
    if save is not nulls:
        with_two_lines(root)
    assert surveylab("run").code == 0
    before = page.read_bytes()
    changed(source_of(root), save)
    assert surveylab("status").code == 0
    assert surveylab("run").out == "demo/one: fresh\n"
    assert surveylab("verify", "--recompute-only").code == 0
    assert page.read_bytes() == before


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n\r\n"])
def test_the_files_own_layout_does_not_count(root, surveylab, ending):
    path = source_of(root)
    text = json.dumps(read(path), indent=4, ensure_ascii=True).encode()
    path.write_bytes(b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n") + ending)
    assert surveylab("run").out == "demo/one: fresh\n"


@pytest.mark.slow
@pytest.mark.parametrize("save", [vs_code, jupyter_lab, windows, nulls])
def test_what_is_executed_and_published_has_nothing_of_the_editor(root, page, surveylab, save):
    with_two_lines(root) if save is not nulls else None
    assert surveylab("run").code == 0
    before = read(page)
    changed(source_of(root), save)
    assert "executed in" in surveylab("run", "--force").out
    after = read(page)
    for notebook in (before, after):
        for key in ("executed", "duration"):
            del notebook["metadata"]["surveylab"][key]
    assert after == before


# ------------------------------------------------------------------------------------------------------- ids


def test_cells_without_ids_have_the_same_ones_in_every_run(root, page, surveylab):
    def drop(notebook):
        notebook["nbformat_minor"] = 4
        for each in notebook["cells"]:
            del each["id"]

    changed(source_of(root), drop)
    assert "without executing" in surveylab("run").out
    ids = [each["id"] for each in read(page)["cells"]]
    assert len(set(ids)) == len(ids) == 8
    assert surveylab("run").out == "demo/one: fresh\n"
    assert surveylab("verify", "--recompute-only").code == 0
    # A cell put in between changes no other one's id.
    changed(source_of(root), lambda nb: nb["cells"].insert(0, {**nb["cells"][0], "source": "New."}))
    assert surveylab("run").code == 0
    assert [each["id"] for each in read(page)["cells"]][1:] == ids


def test_cells_alike_without_ids_have_different_ones(root):
    notebook = read(source_of(root))
    twin = {"cell_type": "markdown", "metadata": {}, "source": "The same."}
    notebook["cells"] += [copy.deepcopy(twin), copy.deepcopy(twin), {**twin, "id": None}, {**twin, "id": ""}]
    ids = [c["id"] for c in parse("demo/one", NAME, json.dumps(notebook).encode())["cells"]]
    assert len(set(ids)) == len(ids)


# --------------------------------------------------------------------------------------------- what is kept


def test_what_matters_is_kept(root):
    notebook = read(source_of(root))
    picture = {"a.png": {"image/png": "iVBORw0KGgo="}}
    notebook["metadata"]["mystnb"] = {"execution_mode": "off"}
    notebook["cells"][0] |= {"attachments": picture, "metadata": {"tags": ["margin"]}}
    raw = {"cell_type": "raw", "id": "raw", "metadata": {"raw_mimetype": "text/html"}, "source": "<hr>"}
    notebook["cells"].append(raw)
    source = parse("demo/one", NAME, json.dumps(notebook).encode())
    assert source["cells"][0]["attachments"] == picture
    assert source["cells"][0]["metadata"] == {"tags": ["margin"]}
    assert source["cells"][-1] == raw
    assert source["metadata"]["mystnb"] == {"execution_mode": "off"}
    assert parse("demo/one", NAME, text_of_source(source).encode()) == source


def test_a_clean_source_is_its_own_text(root):
    path = source_of(root)
    source = parse("demo/one", NAME, path.read_bytes())
    text = text_of_source(source)
    assert json.loads(text)["cells"] == read(path)["cells"]


def test_text_and_titles_still_count(root, page, surveylab):
    changed(source_of(root), cell(1, source="# Another title"))
    assert "without executing" in surveylab("run").out
    assert read(page)["cells"][0]["source"] == ["# Another title"]
    assert card(read(page), "tiny-gain")


# ------------------------------------------------------------------------------------------- IPython's syntax


@pytest.mark.parametrize(
    ("code", "modules"),
    [
        ("%matplotlib inline\nimport a", {"a"}),
        ("%%time\nimport a\nfor _ in range(2):\n    import b", {"a", "b"}),
        ("%%capture out\nimport a", {"a"}),
        ("%%bash\nfor x in 1 2; do echo $x; done", set()),
        ("files = !ls -l\nimport a", {"a"}),
        ("import a\na?", {"a"}),
        ("if True:\n    !ls\n    import a", {"a"}),
        ('text = """\n% no magic\n! nor this\n"""\nimport a', {"a"}),
    ],
)
def test_a_cell_in_the_syntax_of_ipython(code, modules):
    import ast

    tree = parse_cell(code)
    found = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    assert found == modules


def test_a_cell_that_is_neither(root):
    notebook = read(source_of(root))
    notebook["cells"][2]["source"] = "%%time\nx = ="
    with pytest.raises(ChapterFailed, match=r"cell 3 is not Python: invalid syntax \(line 2 of it\)"):
        parse("demo/one", NAME, json.dumps(notebook).encode())
