"""One truth about what the project needs: pyproject, constraints, conda environment and Makefile agree."""

from __future__ import annotations

import json
import re
import sys
import sysconfig
import tomllib
from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path

import audit
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
PINS = {
    canonicalize_name(name): Version(number)
    for name, number in (
        line.split("==") for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    )
}
# What lies in the environment itself: a package that bundles others may put them on sys.path when imported.
INSTALLED: dict[str, Distribution] = {
    canonicalize_name(found.metadata["Name"]): found
    for found in distributions(path=sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}))
}
# Pinned, and needed by nothing that is installed here.
ELSEWHERE = {
    "labml": "tests/reference.txt installs it without dependencies",
    "labml-nn": "tests/reference.txt installs it without dependencies",
}


def requirements() -> list[Requirement]:
    extras = PROJECT["optional-dependencies"].values()
    texts = [*PROJECT["dependencies"], *(text for extra in extras for text in extra)]
    return [r for r in map(Requirement, texts) if r.name != PROJECT["name"]]


def test_every_dependency_is_pinned_within_its_range() -> None:
    for requirement in requirements():
        pin = PINS.get(canonicalize_name(requirement.name))
        assert pin is not None, f"{requirement.name} is in pyproject.toml, but not pinned in constraints.txt"
        assert pin in requirement.specifier, f"constraints.txt pins {requirement.name} {pin}"


def needed(names: set[str]) -> Iterator[str]:
    """What these packages need, themselves included, as far as it is installed."""
    waiting, seen = set(names), set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if name not in INSTALLED:
            continue
        required = INSTALLED[name].requires or []
        yield name
        # Extras may be asked for by whoever requires the package: every dependency that is here counts.
        waiting |= {canonicalize_name(Requirement(text).name) for text in required}


def test_no_pin_is_left_over() -> None:
    used = set(needed({canonicalize_name(r.name) for r in requirements()})) | set(ELSEWHERE)
    installed = PINS.keys() & INSTALLED.keys()
    assert installed <= used, "constraints.txt pins what nothing needs: " + ", ".join(installed - used)


@pytest.mark.skipif(sys.platform != "linux", reason="constraints.txt has what is needed on Linux")
def test_all_that_is_needed_is_pinned() -> None:
    """Else two environments of the same constraints would differ; what a GPU's torch brings is its own."""
    used = set(needed({canonicalize_name(r.name) for r in requirements()}))
    of_the_environment = {"pip", "setuptools", "wheel"}
    loose = {name for name in used - PINS.keys() if not name.startswith(("nvidia-", "cuda-", "triton"))}
    assert loose <= of_the_environment, f"constraints.txt does not pin {loose - of_the_environment}"


def test_every_pin_serves_the_oldest_python_that_is_promised() -> None:
    """A Linux of 2023 brings Python 3.11.2; `make` lets it through, so the pins must too."""
    (oldest,) = SpecifierSet(PROJECT["requires-python"])
    python = Version(f"{oldest.version}.0")
    asked = {
        name: INSTALLED[name].metadata.get_all("Requires-Python") or []
        for name in PINS.keys() & INSTALLED.keys()
    }
    refusing = {name: specs for name, specs in asked.items() if python not in SpecifierSet(",".join(specs))}
    assert not refusing, f"not for Python {python}: {refusing}"


def test_what_is_installed_is_what_is_pinned() -> None:
    found = {name: INSTALLED[name].version for name in PINS.keys() & INSTALLED.keys()}
    other = {name: number for name, number in found.items() if Version(number).public != PINS[name].public}
    assert not other, f"not as in constraints.txt: {other}; `make setup` installs them"


def test_the_conda_environment_is_the_same() -> None:
    *conda, pip = ENVIRONMENT["dependencies"]
    python = next(entry for entry in conda if entry.startswith("python="))
    assert (
        python.removeprefix("python=") + ".0" in Requirement(f"python{PROJECT['requires-python']}").specifier
    )
    assert "pip" in conda
    assert ENVIRONMENT["channels"] == ["conda-forge", "nodefaults"]
    constraint, torch, package = pip["pip"]
    assert constraint == "-c constraints.txt"
    assert torch == f"torch=={PINS[canonicalize_name('torch')]}"
    extras = re.fullmatch(r"-e \.\[(.*)\]", package)
    assert extras and set(extras[1].split(",")) <= set(PROJECT["optional-dependencies"])


def test_make_takes_its_versions_from_the_constraints() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    installs = [line for line in text.splitlines() if "pip install" in line]
    assert len(installs) >= 4
    for line in installs:
        assert "-c constraints.txt" in line, line
    assert not re.search(r"==\s*\d", text), "a version belongs in constraints.txt"


# ------------------------------------------------------------------------------------------ the audit


def answer(*packages: Mapping[str, object]) -> str:
    return json.dumps({"dependencies": list(packages), "fixes": []})


FINE = {"name": "fine", "version": "1.0", "vulns": []}
HOLED = {"name": "holed", "version": "1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1"]}]}
UNKNOWN = {"name": "unknown", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("printed", "in_ci", "code", "says"),
    [
        (answer(FINE), "true", 0, "1 packages looked up, 0 vulnerabilities"),
        (answer(FINE, HOLED), "", 1, "holed 1.0: PYSEC-1, fixed in 1.1"),
        (answer(FINE, UNKNOWN), "", 0, "not looked up: unknown"),
        (answer(UNKNOWN), "", 0, "cannot be reached"),
        (answer(UNKNOWN), "true", 1, "cannot be reached"),
        ("", "", 0, "cannot be reached"),
        ("Traceback", "true", 1, "cannot be reached"),
    ],
)
def test_the_audit_tells_a_finding_from_no_answer(
    printed: str, in_ci: str, code: int, says: str, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("CI", in_ci)
    assert audit.audit(lambda: printed) == code
    assert says in capsys.readouterr().out
