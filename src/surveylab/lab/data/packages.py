"""The modules of four packages that are installed anyway: where `pycode` and `english` come from.

Their wheels hold the same modules for every Python and system, apart from the few left out here. The standard
library would not do: its texts differ from one Python to the next.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

# Folder of each package: (name, the version that published results rest on). All are under the BSD licence.
PACKAGES = {
    "sympy": ("sympy", "1.14.0"),
    "networkx": ("networkx", "3.6.1"),
    "sklearn": ("scikit-learn", "1.9.1"),
    "scipy": ("SciPy", "1.17.1"),
}
# Tests repeat themselves; benchmarks and parsers are generated; the others are copies of other packages.
LEFT_OUT = {"tests", "benchmarks", "_antlr", "externals", "array_api_compat", "array_api_extra"}


def modules(package: str) -> Iterator[tuple[str, bytes]]:
    """Name (``package/path``) and source of each module, by name; lines end alike on every system."""
    root = _root(package)
    found = {PurePosixPath(package, *path.relative_to(root).parts): path for path in root.rglob("*.py")}
    for name, path in sorted(found.items()):
        # What lies at the top is written anew when a package is built: versions, configuration, __init__.
        if len(name.parts) > 2 and not LEFT_OUT.intersection(name.parts):
            yield str(name), path.read_bytes().replace(b"\r\n", b"\n")


def versions(name: str) -> str:
    """The packages' versions in one word, with a warning where they are not those that are pinned."""
    found = {package: version(package) for package, _ in PACKAGES.values()}
    other = [f"{p} {found[p]} ({pin})" for p, pin in PACKAGES.values() if found[p] != pin]
    if other:
        warnings.warn(
            f"{name} is another text than the published one, since it is taken from the installed "
            f"{', '.join(other)}; in brackets the versions that published results rest on",
            stacklevel=3,
        )
    return "-".join(found.values())


def _root(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        name, pin = PACKAGES[package]
        raise PackageNotFoundError(f"{name}, whose text is wanted: pip install {name.lower()}=={pin}")
    return Path(spec.origin).parent
