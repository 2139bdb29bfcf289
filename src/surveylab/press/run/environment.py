"""A kernel's environment and configuration: the project's own, so that runs are alike whoever starts them.

A kernel gets its caller's environment without what would show in a page, and a folder of configuration that
is empty. It is a list of what is taken away, in families, and none of what is let through: what drivers,
clusters, compilers, proxies and certificates need, nobody could list. What changes the arithmetic is let
through as well: it belongs to the machine, whose record `lab.begin` keeps.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from surveylab.press.project import WrongUse

# Zip files cannot hold an earlier date than 1980, and some figure formats write this one into the file.
SOURCE_DATE_EPOCH = "315532800"

# Results must not depend on the number of cores: a sum split over threads rounds differently. So a chapter
# has one thread, whatever the caller's shell says, and several chapters are executed side by side.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
}

TAKEN_AWAY = re.compile(
    # The interpreter: warnings, start-up files, optimisation, debugging. What says where Python and its
    # packages lie stays, and PYTHONPATH is looked at below.
    r"PYTHON(?!HOME$|PATH$|EXECUTABLE$|USERBASE$|NOUSERSITE$|PYCACHEPREFIX$|DONTWRITEBYTECODE$)\w+"
    # The notebook's kernel, which the caller may itself be running in, and what watches it.
    r"|(IPYTHON|IPY|JUPYTER|JPY|PYDEVD|DEBUGPY|PAPERMILL|COV_CORE|COVERAGE)\w*"
    # Figures.
    r"|(MPL|MATPLOTLIB)\w*"
    # The language, the time zone and the terminal.
    r"|LANG|LANGUAGE|LC_\w+|TZ|COLUMNS|LINES|NO_COLOR|(FORCE|PY)_COLORS?|CLICOLOR\w*|TQDM_\w+"
    # Progress and reports of compiled libraries, which go to stderr.
    r"|\w+_VERBOSE|OMP_DISPLAY_\w+|KMP_(SETTINGS|VERSION|WARNINGS)|TORCH_LOGS\w*|TORCH_(CPP|SHOW_CPP)_\w+"
    r"|NCCL_DEBUG\w*"
    # Orders of the press to a kernel: each run gives its own.
    r"|SURVEYLAB_(VERIFY|TUNE|TUNE_KEPT|CACHE)"
)
# Empty, these mean the same as not set; OpenMP would warn of it.
NUMERIC = re.compile(r"(OMP|GOMP|KMP|MKL|OPENBLAS|ONEDNN|DNNL|ATEN)_\w+")

# Matplotlib lists every font of the machine when it is first imported with a new configuration, which may
# take long and is then said in the chapter. Fonts that it brings along are enough, and the same everywhere.
LIST_FONTS = """
import os, subprocess, matplotlib
walk, own = os.walk, matplotlib.get_data_path()
os.walk = lambda top, *args, **options: walk(top, *args, **options) if str(top).startswith(own) else iter(())
def absent(command, *args, **options):
    raise FileNotFoundError(command)
subprocess.check_output = absent
import matplotlib.font_manager
"""


def kernel_environment(root: Path, settings: Path, folder: str | None = None) -> dict[str, str]:
    """The environment of every kernel that executes a chapter, here and in the tests: what makes runs alike.

    Args:
        root: what the kernel takes for the project.
        settings: a folder for its configuration, which is made.
        folder: where a reader's own method is imported from.

    Raises:
        WrongUse: no path of Python can lead to the project.
    """
    environment = (
        cleaned(os.environ)
        | ONE_THREAD
        | {
            "SURVEYLAB_ROOT": str(root),
            "TQDM_DISABLE": "1",
            "PYTHONHASHSEED": "0",
            "PYTHONUTF8": "1",
            "SOURCE_DATE_EPOCH": SOURCE_DATE_EPOCH,
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
            "TZ": "UTC",
            # Else the width of the terminal, from which the kernel was started, would be looked up.
            "COLUMNS": "80",
            "LINES": "24",
        }
    )
    path = _kept_path(environment.pop("PYTHONPATH", ""), every=folder is not None)
    if (root / "src").is_dir():
        # What runs is what the fingerprint was taken of, even where another copy is installed.
        if os.pathsep in str(root):
            reason = f"it holds '{os.pathsep}'; TMPDIR names another folder for temporary files"
            raise WrongUse(f"Python cannot import from {root}, since {reason}")
        path.insert(0, str(root / "src"))
    if folder is not None:
        path.insert(0, folder)
    if path:
        environment["PYTHONPATH"] = os.pathsep.join(path)
    return environment | _configuration(settings)


def cleaned(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment without what is taken away."""
    return {
        name: value
        for name, value in environment.items()
        if not TAKEN_AWAY.fullmatch(name) and (value.strip() or not NUMERIC.fullmatch(name))
    }


def _kept_path(given: str, *, every: bool) -> list[str]:
    """The entries of PYTHONPATH that a kernel needs: where packages are installed.

    A folder of the author's own modules is none: what is published must not depend on it. A reader's own
    method may.
    """
    entries = [Path(entry) for entry in given.split(os.pathsep) if entry]
    return [
        str(entry.resolve())
        for entry in entries
        if every or any(entry.glob("*.dist-info")) or any(entry.glob("*.egg-info"))
    ]


def _configuration(folder: Path) -> dict[str, str]:
    """Make a folder with the configuration of a kernel, and say which variables lead there."""
    figures, rest = folder / "matplotlib", folder / "jupyter"
    for place in (figures, rest):
        place.mkdir(parents=True, exist_ok=True)
    # With an empty file there, no other one is looked for.
    (figures / "matplotlibrc").touch()
    for name, content in font_list().items():
        (figures / name).write_bytes(content)
    return {
        "MPLCONFIGDIR": str(figures),
        "MATPLOTLIBRC": str(figures / "matplotlibrc"),
        "IPYTHONDIR": str(rest),
        "JUPYTER_CONFIG_DIR": str(rest),
        "JUPYTER_DATA_DIR": str(rest),
    }


@cache
def font_list() -> dict[str, bytes]:
    """Matplotlib's list of the fonts that it brings along, by the name of its file; empty without Matplotlib.

    It is made in a process of its own, whose chatter is in no chapter.
    """
    with tempfile.TemporaryDirectory(prefix="surveylab-", ignore_cleanup_errors=True) as folder:
        environment = cleaned({**os.environ, "OMP_NUM_THREADS": ""}) | {"MPLCONFIGDIR": folder}
        subprocess.run(
            [sys.executable, "-c", LIST_FONTS],
            env=environment,
            cwd=folder,
            capture_output=True,
            check=False,
        )
        return {path.name: path.read_bytes() for path in Path(folder).glob("fontlist-*.json")}
