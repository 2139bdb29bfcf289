"""What a kernel needs of the checkout, as bytes: so that a chapter is executed from what it was when it was
asked for, here or on a machine that has no checkout.
"""

from __future__ import annotations

from pathlib import Path

from surveylab.press.project import PressError, Project, WrongUse
from surveylab.press.run.fingerprint import library_packages

CANDIDATE = "candidate"
"""The folder among these files from which the reader's own method is imported."""


def pack(project: Project, chapter: str) -> dict[str, bytes]:
    """The claims, the chapter's learning rates and the library, by where each lies under the root.

    The library is what the fingerprint is taken of, so that it is what runs.

    Raises:
        PressError: a file cannot be read.
    """
    files: dict[str, bytes] = {}
    try:
        files |= _folder(project.root / "book" / "claims", "book/claims")
        tuning = project.tuning(chapter)
        if tuning.exists():
            files[tuning.relative_to(project.root).as_posix()] = tuning.read_bytes()
        for name, folder in library_packages(project).items():
            files |= _folder(folder, f"src/{name}")
    except OSError as error:
        raise PressError(f"cannot read {error.filename}: {error.strerror}") from error
    return files


def pack_candidate(candidate: str, folder: Path) -> dict[str, bytes]:
    """The module or package of a `module:Class` that lies in a folder; nothing if it is installed.

    Raises:
        WrongUse: it can be imported neither from there nor from what is installed.
    """
    from importlib.util import find_spec

    name = candidate.partition(":")[0].partition(".")[0]
    if (folder / name).is_dir():
        return _folder(folder / name, f"{CANDIDATE}/{name}")
    if (folder / f"{name}.py").is_file():
        return {f"{CANDIDATE}/{name}.py": (folder / f"{name}.py").read_bytes()}
    if find_spec(name) is None:
        raise WrongUse(f"--candidate {candidate}: there is no {name}.py and no package {name}/ in {folder}")
    return {}


def unpack(files: dict[str, bytes], root: Path) -> None:
    """Lay the files out under a root."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _folder(folder: Path, name: str) -> dict[str, bytes]:
    return {
        f"{name}/{path.relative_to(folder).as_posix()}": path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
