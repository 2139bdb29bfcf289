"""Which objects a chapter uses: every way to name one leads to where it is defined."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from surveylab.press.project import PressError
from surveylab.press.run.usage import defined_at, public_name, used_names


@pytest.fixture
def packages(tmp_path: Path) -> dict[str, Path]:
    for name, text in {
        "lib/__init__.py": "",
        "lib/room/__init__.py": "from lib.room import plots\nfrom lib.room.norm import Layer, norm\n"
        "from .other import helper as help_out\nif True:\n    from .other import late\n",
        "lib/room/norm.py": "class Layer:\n    def forward(self): ...\ndef norm(): ...\n\ndef inner(): ...\n",
        "lib/room/other.py": "def helper(): ...\n\ndef late(): ...\n",
        "lib/room/plots.py": "import math\nINK: str = 'black'\nSIZES = (1, 2)\ndef dots(): ...\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return {"lib": tmp_path / "lib"}


def notebook(*cells: str) -> dict[str, Any]:
    return {
        "cells": [
            {"cell_type": "markdown", "source": "import nothing"},
            *({"cell_type": "code", "source": cell} for cell in cells),
        ]
    }


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("lib.room.Layer", "lib.room.norm:Layer"),
        ("lib.room.norm.Layer", "lib.room.norm:Layer"),
        ("lib.room.Layer.forward", "lib.room.norm:Layer.forward"),
        ("lib.room.norm", "lib.room.norm:norm"),  # the function that hides the module of its name
        ("lib.room.norm.inner", "lib.room.norm:inner"),
        ("lib.room.help_out", "lib.room.other:helper"),
        ("lib.room.late", "lib.room.other:late"),
        ("lib.room.plots", "lib.room.plots"),
        ("lib.room.plots.INK", "lib.room.plots:INK"),
        ("lib.room.plots.SIZES", "lib.room.plots:SIZES"),
        ("lib.room", "lib.room"),
        ("lib.room.plots.nothing", ""),
        ("lib.room.plots.math", ""),
        ("torch.nn", ""),
    ],
)
def test_every_name_leads_to_the_definition(packages: dict[str, Path], name: str, place: str) -> None:
    assert defined_at(name, packages) == place


def test_names_are_read_from_the_code(packages: dict[str, Path]) -> None:
    chapter = notebook(
        "import torch\nfrom lib import room\nfrom lib.room.norm import norm as n",
        "%time room.plots.dots(n)\nroom.plots.dots(n(1))",
        "def f(x: room.Layer):\n    return x.norm, room.help_out(torch.zeros(1)).late",
    )
    assert used_names(chapter, "x", packages) == [
        "lib.room",
        "lib.room.Layer",
        "lib.room.help_out",
        "lib.room.norm.norm",
        "lib.room.plots",
        "lib.room.plots.dots",
    ]


def test_a_module_imported_by_its_path_or_by_another_name(packages: dict[str, Path]) -> None:
    chapter = notebook("import lib.room.plots\nimport lib.room as r", "lib.room.plots.dots()\nr.late()")
    assert {"lib.room.plots.dots", "lib.room.late"} <= set(used_names(chapter, "x", packages))


def test_a_cell_that_is_no_python_is_named(packages: dict[str, Path]) -> None:
    with pytest.raises(PressError, match="book/x: cell 3 is not Python"):
        used_names(notebook("1", "a b"), "book/x", packages)


@pytest.mark.parametrize(
    ("name", "public"),
    [
        ("lib.room.norm.Layer", "lib.room.Layer"),
        ("lib.room.norm.norm", "lib.room.norm"),
        ("lib.room.norm.inner", "lib.room.norm.inner"),
        ("lib.room.plots.dots", "lib.room.plots.dots"),
    ],
)
def test_the_public_name_is_the_one_that_the_room_exports(
    packages: dict[str, Path], name: str, public: str
) -> None:
    assert public_name(name, packages) == public
