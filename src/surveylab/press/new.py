"""`surveylab new`: the skeleton of a chapter, which runs at once and which its author fills."""

# ruff: noqa: E501 - the lines of a notebook are as wide as those of the other chapters

from __future__ import annotations

import difflib
import json
import keyword
import re
from collections.abc import Callable
from typing import Any

from surveylab.press.project import Notebook, Project, WrongUse, write_atomically
from surveylab.press.review_text import Chapter, Section, Sentence, chapters_of

# Folders of the library, of the book and of its pages that are no section.
RESERVED = {"api", "claims", "executed", "full", "lab", "notebooks", "packaged", "press"}
RESERVED |= {"replications", "tuning"}
_WIDTH = 88  # of code in a notebook: notebooks/ruff.toml

ON_YOUR_OWN = """\
**To run this chapter yourself.** It needs the book's library in the Python that this kernel runs: `make lab` in a checkout of
the book's repository sets up both (for Windows see *Run it on your computer* in its `README.md`). After that it runs from any
folder and without a network. A `ModuleNotFoundError` below means that this kernel is another Python.

The cell that begins with `profile` decides how long it takes: `"smoke"` shows in seconds that everything runs, `"standard"`
is what the book publishes (some minutes on one core), `"full"` is for a GPU. Run all cells from the top, since later
ones need earlier ones.

A card under an experiment holds one claim: its estimate with a 99 % interval, the margin that was written down before the
result was known, and the verdict. At smoke no verdict is decided. The published results are on the book's page and in
`book/<chapter>.ipynb` of the repository. `{cite:p}` and the like are citations, which that page resolves."""

PARAMETERS = """\
profile = "standard"  # or "smoke" (seconds, decides nothing), "full" (for a GPU)
seed = 0
device = "auto"  # or "cpu", "cuda"
candidate = None  # "package.module:Class": your own method joins the comparison"""


def new(project: Project, name: str, say: Callable[[str], None]) -> None:
    """Write the skeleton of a chapter: source, claims and test, and for a new section its package.

    Args:
        name: ``section/chapter``, one of the review's chapters.
        say: What tells the author what was written and what comes next.

    Raises:
        WrongUse: The name cannot be that of a chapter, the review has no such chapter, or its source or its
            claims are there already. Nothing is written then. A test that was written first stays.
        PressError: The review's text has a mistake, or a file cannot be written.
    """
    section, chapter = _find(project, name)
    files = {
        project.source(name): _as_text(notebook(chapter)),
        project.root / "book" / "claims" / f"{name}.yml": claims(chapter),
    }
    there = [project.shown(path) for path in files if path.exists()]
    if there:
        raise WrongUse(f"{name} has been begun: {', '.join(there)} is there already, and nothing was written")
    test = project.root / "tests" / f"{section.name}/test_{name.partition('/')[2]}.py"
    package = project.root / "src" / "surveylab" / section.name / "__init__.py"
    shared = {
        test: _test(section, chapter),
        package: f'"""{section.title}: the methods of the review."""\n\n__all__: list[str] = []\n',
    }
    files |= {path: text for path, text in shared.items() if not path.exists()}
    for path, text in files.items():
        write_atomically(path, text)
    say("\n".join([f"{name}: written", *(f"    {project.shown(path)}" for path in files)]))
    if test not in files:
        say(f"    {project.shown(test)} was there and stays as it is")
    say(
        f"Next: write its claims ({len(chapter.statements)} statements to cover), then the method and the "
        f"source. `surveylab run {name} --profile smoke` runs it in seconds. CONTRIBUTING.md has the rest."
    )


def _find(project: Project, name: str) -> tuple[Section, Chapter]:
    """The section and the chapter of the review that a name means."""
    parts = name.split("/")
    for part in parts:
        if len(parts) != 2 or not re.fullmatch(r"[a-z][a-z0-9_]*", part) or keyword.iskeyword(part):
            raise WrongUse(
                f"'{name}' cannot be a chapter: write section/chapter in lower-case letters, digits and "
                "underscores, such as adaptive/activations"
            )
    if parts[0] in RESERVED:
        raise WrongUse(f"'{name}' cannot be a chapter: {parts[0]} is a folder of the book or of its library")
    known = [chapter.name for chapter in chapters_of(project.review)]
    for section in project.review:
        for chapter in section.chapters:
            if chapter.name == name:
                return section, chapter
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    unwritten = [chapter for chapter in known if not project.source(chapter).exists()]
    raise WrongUse(
        f"the review has no chapter '{name}': {hint}A chapter begins in book/review_text.yml, with the "
        f"sentences it is to examine. Without a source so far: {', '.join(unwritten) or 'none'}"
    )


def notebook(chapter: Chapter) -> Notebook:
    """The source: what each chapter begins and ends with."""
    label = chapter.name.partition("/")[2].replace("_", "-")
    figure = {
        "image": {
            "alt": "A table of mean validation scores: one row for each arm, one column for each value tried, "
            "the chosen one outlined.",
            "classes": "dark-light",
        },
        "figure": {
            "caption": "Mean validation score of each arm at each value tried, on tuning seeds; the chosen one "
            "is outlined.",
            "name": f"{label}-sweeps-figure",
        },
    }
    cells = [
        _markdown("title", f"# {chapter.title}\n\nThe review says:\n\n{_said(chapter.text)}"),
        _markdown("on-your-own", on_your_own(chapter.name), tags=["remove-cell"]),
        _code("imports", "import matplotlib.pyplot as plt\n\nfrom surveylab import lab", tags=["hide-input"]),
        _code("parameters", PARAMETERS, tags=["parameters"]),
        _code("begin", _begin(chapter.name)),
        _markdown(
            "sweeps-prose",
            "## How the learning rates were found\n\nEach arm was tried at every value of its grid, on other "
            "seeds than those above and scored on validation data.\nThe outlined cell is the value it then "
            "trained at.",
        ),
        _code(
            "sweeps-figure",
            "if found := lab.sweeps():\n    lab.plots.sweep_table(found)\n    plt.show()",
            tags=["hide-input"],
            mystnb=figure,
        ),
        _markdown("summary-prose", "## All verdicts", tags=["remove-cell"]),
        _code("summary", "lab.summary()", tags=["remove-cell"]),
        _markdown(
            "exercises",
            "## Exercises\n\n1. Run the chapter with another `seed`. Which verdicts stay, and which intervals "
            "move?",
        ),
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def _begin(chapter: str) -> str:
    """The call that starts the run, laid out as the formatter wants it."""
    arguments = f'"{chapter}", profile=profile, seed=seed, device=device'
    line = f"run = lab.begin({arguments})"
    return line if len(line) <= _WIDTH else f"run = lab.begin(\n    {arguments}\n)"


def on_your_own(chapter: str) -> str:
    """The note for who opens a chapter's source alone. The book's page, which explains itself, hides it."""
    return ON_YOUR_OWN.replace("<chapter>", chapter)


def _said(text: tuple[Sentence, ...]) -> str:
    """The review's sentences as a list, with their citations."""
    lines = []
    for sentence in text:
        cited = f" {{cite:p}}`{','.join(sentence.cite)}`" if sentence.cite else ""
        lines.append(f"- {sentence.says}{cited}")
    return "\n".join(lines)


def _markdown(id: str, source: str, **metadata: Any) -> dict[str, Any]:
    return {"cell_type": "markdown", "id": id, "metadata": metadata, "source": source}


def _code(id: str, source: str, **metadata: Any) -> dict[str, Any]:
    run: dict[str, Any] = {"execution_count": None, "outputs": []}
    return {"cell_type": "code", **run, "id": id, "metadata": metadata, "source": source}


def _as_text(notebook: Notebook) -> str:
    """A notebook as Jupyter writes it, so that saving it again changes nothing."""
    import nbformat

    return nbformat.writes(nbformat.from_dict(notebook)) + "\n"


def claims(chapter: Chapter) -> str:
    """The claims file: the statements to cover, each as a claim to write, in comments until it is written."""
    entries = [_entry(sentence) for sentence in chapter.text if sentence.id]
    return _CLAIMS.replace("<chapter>", chapter.name) + "".join(f"\n{entry}" for entry in entries)


_CLAIMS = """\
# The claims of <chapter>, written before their results are known. How: CONTRIBUTING.md, "How a claim is written".
#
# Below stands each statement of the review that they have to cover. For each, remove the `# ` and
#   says    sharpen the sentence until a run can decide it; one that says several things becomes several claims
#   kind    identity, experiment, measurement or source
#   effect  say what one value is, so that the claimed direction is positive
#   margin  the smallest effect that would matter, in `unit`; `why` says the reason
# A source has `cite` and `place` in their stead.
"""


def _entry(sentence: Sentence) -> str:
    lines = [
        f"- id: {sentence.id}",
        f"  says: {json.dumps(sentence.says, ensure_ascii=False)}",
        f"  covers: [{sentence.id}]",
        "  edition: 1",
        "  kind:",
        "  effect:",
        "  unit:",
        "  margin:",
        "  why:",
        f"  cite: [{', '.join(sentence.cite)}]",
    ]
    return "".join(f"# {line}\n" for line in lines)


def _test(section: Section, chapter: Chapter) -> str:
    return _TEST.replace("<title>", chapter.title).replace("<section>", section.name)


_TEST = '''\
"""<title>: its methods against torch or a reference implementation.

What to test is listed in CONTRIBUTING.md, "A method in three steps".
"""

from __future__ import annotations

import pytest

from surveylab import <section>


@pytest.mark.skip(reason="write the method first, then compare it with torch or a reference implementation")
def test_a_method_equals_its_reference() -> None:
    assert <section>.__all__
'''
