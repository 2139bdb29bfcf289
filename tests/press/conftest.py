"""A published project, executed once; each test works on a copy of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from tiny_project import make_project

from surveylab.press.cli import execute


class Said(NamedTuple):
    """What a command answered."""

    code: int
    out: str
    err: str


VARIABLES = ("SURVEYLAB_VERIFY", "SURVEYLAB_TUNE", "OMP_NUM_THREADS", "TINY_CAPABILITY", "TINY_VERSION")
ADDRESSES = ("SURVEYLAB_REPOSITORY", "SURVEYLAB_BRANCH", "SURVEYLAB_SITE")


def _settle(patch: pytest.MonkeyPatch, root: Path) -> None:
    """Point the press at a project, and hide what the caller's shell may say."""
    patch.setenv("SURVEYLAB_ROOT", str(root))
    # Where several at a time matter, a test asks for them.
    patch.setattr("surveylab.press.run.executor.cores", lambda: 1)
    for name in (
        "SURVEYLAB_VERIFY",
        "SURVEYLAB_TUNE",
        "OMP_NUM_THREADS",
        "TINY_CAPABILITY",
        "TINY_VERSION",
        *ADDRESSES,
    ):
        patch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a project whose only chapter is published. Not to be changed."""
    root = make_project(tmp_path_factory.mktemp("published"))
    with pytest.MonkeyPatch.context() as patch:
        _settle(patch, root)
        assert execute(["run"]) == 0
    return root


@pytest.fixture
def root(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the published project, which the press finds."""
    copy = tmp_path / "project"
    shutil.copytree(published, copy)
    _settle(monkeypatch, copy)
    return copy


@pytest.fixture
def page(root: Path) -> Path:
    """The published chapter in that copy."""
    return root / "book" / "demo" / "one.ipynb"


@pytest.fixture
def new_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that was never run."""
    root = make_project(tmp_path / "project")
    _settle(monkeypatch, root)
    return root


@pytest.fixture
def surveylab(capfd: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Said]]:
    """Run a command of the press as a person would."""

    def run(*arguments: str) -> Said:
        capfd.readouterr()
        code = execute(list(arguments))
        said = capfd.readouterr()
        assert "Traceback" not in said.out + said.err
        return Said(code, said.out, said.err)

    yield run
