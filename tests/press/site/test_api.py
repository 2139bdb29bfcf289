"""The API reference follows from the code: what a package exports, then what else has a description."""

from __future__ import annotations

from pathlib import Path

import pytest

from surveylab.press.review_text import Section
from surveylab.press.site.api import api_pages

FILES = {
    "__init__.py": "",
    "press/__init__.py": "",
    "claims/__init__.py": '"""What a claim is. And more."""\n',
    "waves/__init__.py": '"""Waves."""\nfrom surveylab.waves.sine import sine, Wave, LEVEL\n'
    "from surveylab.waves.deep.sea import tide\n__all__ = ['LEVEL', 'Wave', 'sine', 'tide']\n",
    "waves/sine.py": '#: How high.\nLEVEL = 1\nSILENT = 2\nTOLD = 3\n"""Which one."""\n\n'
    'class Wave:\n    """A wave."""\n\nclass TooHigh(ValueError):\n    """It is."""\n\n'
    'def sine(x): ...\ndef helper(): ...\ndef told():\n    """Told."""\ndef _hidden():\n    """No."""\n',
    "waves/deep/__init__.py": '"""Deep."""\n',
    "waves/deep/sea.py": "def tide(): ...\n",
    "waves/fields.py": """
@dataclass(frozen=True)
class Full:
    \"\"\"Full.\"\"\"
    build: Callable[[], nn.Module]
    count: int = 16
    step: Step = sgd
    name: str = "a, b"
    count_of: ClassVar[int] = 0
    cut: Split = field(init=False, repr=False)
    seen: list[int] = dataclasses.field(default_factory=list)
    far: float = field(default=2.5, repr=False)
    near: float = field(repr=False)
    _: KW_ONLY
    last: Mapping[str, Tensor] | None = None

@dataclasses.dataclass
class Bare:
    \"\"\"Bare.\"\"\"
    x: int

@dataclass(kw_only=True)
class Named:
    \"\"\"Named.\"\"\"
    x: int = 1

@dataclass
class Below(Full):
    \"\"\"Below.\"\"\"
    y: int = 1

@dataclass
class Own:
    \"\"\"Own.\"\"\"
    x: int
    def __init__(self): ...

@dataclass(init=False)
class Without:
    \"\"\"Without.\"\"\"
    x: int

@other
class Plain:
    \"\"\"Plain.\"\"\"
    x: int = 1
""",
    "waves/_private.py": 'def never():\n    """No."""\n',
}


@pytest.fixture
def packages(tmp_path: Path) -> dict[str, Path]:
    for name, text in FILES.items():
        path = tmp_path / "surveylab" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return {"surveylab": tmp_path / "surveylab"}


def test_the_pages_are_those_of_the_packages_in_the_reviews_order(packages: dict[str, Path]) -> None:
    review = [Section("waves", "Of waves", (), ()), Section("later", "Later", (), ())]
    pages = api_pages(packages, review)
    assert list(pages) == ["index", "waves", "claims", "cli"]
    assert pages["waves"].startswith("# Of waves\n") and pages["claims"].startswith("# Claims and verdicts\n")
    assert "- [`surveylab.claims`](claims.md): What a claim is.\n" in pages["index"]


def test_each_object_stands_under_the_name_that_its_package_gives_it(packages: dict[str, Path]) -> None:
    page = api_pages(packages, [])["waves"]
    sections = dict(part.split("\n", 1) for part in page.split("## ")[1:])
    assert list(sections) == ["deep", "deep.sea", "fields", "sine"]
    for directive in (
        ".. currentmodule:: surveylab.waves\n\n.. py:data:: LEVEL\n\n   How high.\n",
        ".. currentmodule:: surveylab.waves\n\n.. autoclass:: Wave\n   :members:\n",
        ".. currentmodule:: surveylab.waves\n\n.. autofunction:: sine\n",
        ".. currentmodule:: surveylab.waves.sine\n\n.. autoexception:: TooHigh\n",
        ".. currentmodule:: surveylab.waves.sine\n\n.. autofunction:: told\n",
        ".. currentmodule:: surveylab.waves.sine\n\n.. py:data:: TOLD\n\n   Which one.\n",
    ):
        assert directive in sections["sine"]
    assert ".. currentmodule:: surveylab.waves\n\n.. autofunction:: tide\n" in sections["deep.sea"]
    for name in ("SILENT", "helper", "_hidden", "never"):
        assert name not in page


def test_a_function_named_as_its_module_has_the_name_for_itself(packages: dict[str, Path]) -> None:
    page = api_pages(packages, [])["waves"]
    assert ".. automodule:: surveylab.waves.sine\n   :no-index:\n" in page
    assert ".. automodule:: surveylab.waves.deep.sea\n\n" in page


@pytest.mark.parametrize(
    "signature",
    [
        "Full(build: Callable[[], nn.Module], count: int = 16, step: Step = sgd, name: str = 'a, b', "
        "seen: list[int] = ..., far: float = 2.5, near: float, *, last: Mapping[str, Tensor] | None = None)",
        "Bare(x: int)",
        "Named(*, x: int = 1)",
        "Below",  # has fields that stand elsewhere
        "Own",
        "Without",
        "Plain",
    ],
)
def test_a_dataclass_is_made_with_its_fields_and_defaults_as_written(
    packages: dict[str, Path], signature: str
) -> None:
    page = api_pages(packages, [])["waves"]
    assert f".. autoclass:: {signature}\n   :members:\n" in page
