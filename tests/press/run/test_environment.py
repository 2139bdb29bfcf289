"""A kernel's environment and configuration are the project's own: the author's change nothing of a page."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_project import GOOD, outputs, read, write_chapter

from surveylab.claims import same_machine
from surveylab.press.project import WrongUse
from surveylab.press.run.environment import font_list, kernel_environment
from surveylab.press.verify.compare import machine_changes

# What a page could show of its surroundings: a figure with text, tables as wide as they may be, dates, an
# error in other words, an accent, warnings, an assertion.
SHOWN = [
    GOOD[0],
    "import matplotlib.pyplot as plt\nfigure, axes = plt.subplots()\naxes.plot([0, 1.5], [1, 3])\n"
    "axes.set_title('Größe $x^2$')\nplt.show()",
    "import shutil, textwrap, time, locale, sys, warnings\nprint(shutil.get_terminal_size())\n"
    "print(time.strftime('%c %Z', time.localtime(0)), locale.getlocale(), locale.localeconv())\n"
    "print(sys.flags, sys.getfilesystemencoding(), open(__import__('os').devnull).encoding)\n"
    "import argparse\nprint(argparse.ArgumentParser(prog='x').format_help())",
    "x = 3\nx\n'one value'",
    "warnings.warn('of old', ImportWarning)\n_ = open(__import__('os').devnull)\ndel _",
    "print(sorted(name for name in dir() if name[0] != '_' and name not in ('In', 'Out')))",
]

STARTUP = "intruder = 1\nimport matplotlib\nmatplotlib.rcParams['font.size'] = 30\n"
PROFILE = (
    "c = get_config()\nc.InlineBackend.figure_formats = ['svg']\n"
    "c.InteractiveShell.ast_node_interactivity = 'all'\nc.InteractiveShellApp.exec_lines = ['intruder = 2']\n"
)
MATPLOTLIBRC = "figure.figsize: 2, 9\nlines.linewidth: 9\nfont.family: serif\ntext.usetex: True\n"


def a_home(folder: Path) -> dict[str, str]:
    """The home of an author who has configured everything, under the names that are looked for without any
    variable.
    """
    home = folder / "home"
    kernel = {
        "argv": [sys.executable, "-c", "raise SystemExit"],
        "display_name": "Mine",
        "language": "python",
    }
    for name, text in {
        ".config/matplotlib/matplotlibrc": MATPLOTLIBRC,
        ".config/matplotlib/stylelib/ggplot.mplstyle": MATPLOTLIBRC,
        ".matplotlib/matplotlibrc": MATPLOTLIBRC,
        ".ipython/profile_default/ipython_config.py": PROFILE,
        ".ipython/profile_default/ipython_kernel_config.py": PROFILE,
        ".ipython/profile_default/startup/00-mine.py": STARTUP,
        ".jupyter/jupyter_config.json": '{"IPKernelApp": {"exec_lines": ["intruder = 3"]}}',
        ".local/share/jupyter/kernels/python3/kernel.json": json.dumps(kernel),
    }.items():
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return {"HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config"), "JUPYTER_PREFER_ENV_PATH": "0"}


def variables(folder: Path) -> dict[str, str]:
    """The same author's, and others', by variables."""
    home = Path(a_home(folder)["HOME"])
    (home / "startup.py").write_text("raise SystemExit('the start-up file was read')")
    modules = home / "modules"
    modules.mkdir()
    (modules / "sitecustomize.py").write_text("import builtins\nbuiltins.intruder = 4\nprint('mine')")
    (modules / "textwrap.py").write_text("raise ImportError('the wrong one')")
    return {
        "MPLCONFIGDIR": str(home / ".config/matplotlib"),
        "MATPLOTLIBRC": str(home / ".config/matplotlib/matplotlibrc"),
        "MPLBACKEND": "svg",
        "IPYTHONDIR": str(home / ".ipython"),
        "JUPYTER_CONFIG_DIR": str(home / ".jupyter"),
        "JUPYTER_PATH": str(home / ".local/share/jupyter"),
        "JUPYTER_DATA_DIR": str(home / ".local/share/jupyter"),
        "PYTHONSTARTUP": str(home / "startup.py"),
        "PYTHONPATH": os.pathsep.join([str(modules), "", "."]),
        "PYTHONWARNINGS": "always",
        "PYTHONOPTIMIZE": "2",
        "PYTHONDEVMODE": "1",
        "PYTHONIOENCODING": "latin-1",
        "PYTHONUTF8": "0",
        "LC_ALL": "de_DE.ISO-8859-1",
        "LANG": "tr_TR",
        "LANGUAGE": "de",
        "TZ": "Asia/Kathmandu",
        "COLUMNS": "200",
        "LINES": "3",
        "FORCE_COLOR": "1",
        "CLICOLOR_FORCE": "1",
        "OMP_DISPLAY_ENV": "TRUE",
    }


@pytest.fixture
def plain(new_root: Path, surveylab: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the page shows where nobody has configured anything."""
    for name in ("PYTHONWARNINGS", "COLUMNS", "TZ", "LC_ALL", "LANG"):
        monkeypatch.delenv(name, raising=False)
    write_chapter(new_root, "demo/one", SHOWN)
    said = surveylab("run", "--profile", "smoke")
    assert said.code == 0, said
    return outputs(read(new_root / "_build/smoke/demo/one.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("author", [a_home, variables])
def test_the_authors_configuration_changes_nothing(new_root, plain, surveylab, tmp_path, monkeypatch, author):
    for name, value in author(tmp_path).items():
        monkeypatch.setenv(name, value)
    said = surveylab("run", "--profile", "smoke", "--force")
    assert said.code == 0, said.out
    again = outputs(read(new_root / "_build/smoke/demo/one.ipynb"))
    assert again == plain
    assert any("image/png" in output.get("data", {}) for output in again)
    assert "intruder" not in json.dumps(again)


@pytest.mark.slow
def test_a_home_that_cannot_be_written_to(new_root, plain, surveylab, tmp_path, monkeypatch):
    """A file where the home should be: unlike a mode it stops root too."""
    home = tmp_path / "no-home"
    home.touch()
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(home))
    font_list.cache_clear()
    said = surveylab("run", "--profile", "smoke", "--force")
    assert (said.code, said.err) == (0, "")
    assert outputs(read(new_root / "_build/smoke/demo/one.ipynb")) == plain


@pytest.mark.slow
def test_nothing_is_written_into_the_home(new_root, surveylab, tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    write_chapter(new_root, "demo/one", SHOWN)
    assert surveylab("run", "--profile", "smoke").code == 0
    assert not list(home.rglob("*"))


@pytest.mark.slow
def test_a_slow_list_of_fonts_is_none_of_a_chapter(tmp_path):
    """In a kernel Matplotlib finds its fonts listed, and only those that it brings along."""
    (content,) = font_list().values()
    listed = json.loads(content)["ttflist"]
    assert {font["name"] for font in listed} > {"DejaVu Sans", "DejaVu Sans Mono"}
    assert not [font["fname"] for font in listed if Path(font["fname"]).is_absolute()]
    code = (
        "import matplotlib.font_manager as f\n"
        "f.FontManager.__init__ = None\nprint(len(f.fontManager.ttflist))"
    )
    settings = tmp_path / "settings"
    given = kernel_environment(tmp_path, settings)
    before = {path: path.stat().st_mtime_ns for path in settings.rglob("*")}
    done = subprocess.run([sys.executable, "-c", code], env=given, capture_output=True, text=True, check=True)
    assert done.stdout == f"{len(listed)}\n" and done.stderr == ""
    assert {path: path.stat().st_mtime_ns for path in settings.rglob("*")} == before


# ------------------------------------------------------------------------------------------------- variables


def given(folder: Path, *, reader: str | None = None, **environment: str) -> dict[str, str]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        return kernel_environment(folder, folder / "settings", reader)


@pytest.mark.parametrize(
    "name",
    [
        *("SURVEYLAB_DATA", "HTTPS_PROXY", "no_proxy", "CUDA_VISIBLE_DEVICES", "HOME", "PATH", "TMPDIR"),
        *("LD_LIBRARY_PATH", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "XDG_CACHE_HOME", "SLURM_JOB_ID", "CXX"),
        *("TORCH_HOME", "HF_HOME", "CONDA_PREFIX", "SYSTEMROOT", "PYTHONHOME", "PYTHONNOUSERSITE"),
        *("ONEDNN_MAX_CPU_ISA", "MKL_CBWR", "ATEN_CPU_CAPABILITY", "OMP_DYNAMIC"),
        *("OPENBLAS_CORETYPE", "MY_METHODS_OWN"),
    ],
)
def test_what_a_kernel_needs_is_let_through(tmp_path, name):
    assert given(tmp_path, **{name: "3"})[name] == "3"


@pytest.mark.parametrize(
    "name",
    [
        *("PYTHONWARNINGS", "PYTHONSTARTUP", "PYTHONOPTIMIZE", "PYTHONDEVMODE", "PYTHONINSPECT"),
        *("MPLBACKEND", "JUPYTER_PATH", "JPY_PARENT_PID", "IPY_TEST_SIMPLE_PROMPT", "PAPERMILL_X"),
        *("LC_ALL", "LC_NUMERIC", "LANG", "LANGUAGE", "NO_COLOR", "FORCE_COLOR", "CLICOLOR", "TQDM_POSITION"),
        *("MKL_VERBOSE", "ONEDNN_VERBOSE", "DNNL_VERBOSE", "OMP_DISPLAY_ENV", "KMP_SETTINGS", "TORCH_LOGS"),
        *("TORCH_CPP_LOG_LEVEL", "NCCL_DEBUG", "SURVEYLAB_VERIFY", "SURVEYLAB_TUNE", "SURVEYLAB_TUNE_KEPT"),
    ],
)
def test_what_would_show_in_a_page_is_taken_away(tmp_path, name):
    assert name not in given(tmp_path, **{name: "3"})


def test_what_differs_between_systems_and_terminals_is_set(tmp_path):
    found = given(tmp_path, COLUMNS="200", LINES="3", TZ="Asia/Kathmandu", PYTHONUTF8="0", PYTHONHASHSEED="7")
    same = {"COLUMNS": "80", "LINES": "24", "TZ": "UTC", "PYTHONUTF8": "1", "PYTHONHASHSEED": "0"}
    assert same.items() <= found.items()


def test_no_gpu_is_no_gpu(tmp_path):
    """Empty, this variable hides every GPU; others are as if they were not set, and OpenMP would warn."""
    found = given(tmp_path, CUDA_VISIBLE_DEVICES="", GOMP_SPINCOUNT="", KMP_BLOCKTIME=" ")
    assert found["CUDA_VISIBLE_DEVICES"] == ""
    assert "GOMP_SPINCOUNT" not in found and "KMP_BLOCKTIME" not in found


def test_of_pythonpath_stay_the_folders_where_packages_are_installed(tmp_path, monkeypatch):
    root, installed, own = (tmp_path / name for name in ("root", "installed", "own"))
    for folder in (root / "src", installed / "numpy-1.0.dist-info", own / "helpers"):
        folder.mkdir(parents=True)
    monkeypatch.chdir(own)
    path = os.pathsep.join([str(own), "", ".", str(installed), str(tmp_path / "gone")])
    assert given(root, PYTHONPATH=path)["PYTHONPATH"].split(os.pathsep) == [
        str(root / "src"),
        str(installed),
    ]
    assert "PYTHONPATH" not in given(own, PYTHONPATH=str(own))
    # A reader's own method may need her own modules; a relative path is hers, not the kernel's.
    mine = given(root, PYTHONPATH="helpers", reader="/reader")["PYTHONPATH"].split(os.pathsep)
    assert mine == ["/reader", str(root / "src"), str(own / "helpers")]


# --------------------------------------------------------------------------------------------------- threads


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_chapter_has_one_thread_whatever_the_shell_says(root, page, surveylab, monkeypatch, workers):
    write_chapter(root, "demo/two", [GOOD[0], "import os\nprint(os.environ.get('OMP_NUM_THREADS'))"])
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    assert surveylab("run", "--force", "--workers", workers).code == 0
    (shown,) = outputs(read(root / "book/demo/two.ipynb"))[-1]["text"]
    assert shown == "1\n"


# --------------------------------------------------------------------------------------------------- folders


@pytest.mark.slow
@pytest.mark.parametrize("name", ["with space", "a:b", "[x]", "Größe %d {c} 'q'"])
def test_a_candidate_in_a_folder_of_any_name(root, surveylab, tmp_path, monkeypatch, name):
    folder = tmp_path / name
    folder.mkdir()
    (folder / "mine.py").write_text("from helper import NAME\nclass Method:\n    name = NAME\n")
    (folder / "helper.py").write_text("NAME = 'my own'\n")
    monkeypatch.chdir(folder)
    shown = "import importlib\nprint(importlib.import_module(candidate.split(':')[0]).Method.name)"
    write_chapter(root, "demo/one", [GOOD[0], shown])
    said = surveylab("run", "--profile", "smoke", "--candidate", "mine:Method")
    assert said.code == 0, said.out
    assert outputs(read(root / "_build/smoke-candidate/demo/one.ipynb"))[-1]["text"] == ["my own\n"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["with space", "a:b", "[x]", "*?{y}"])
def test_a_checkout_in_a_folder_of_any_name(published, surveylab, tmp_path, monkeypatch, name):
    import shutil

    root = tmp_path / name
    shutil.copytree(published, root)
    monkeypatch.setenv("SURVEYLAB_ROOT", str(root))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert surveylab("status").code == 0
    assert surveylab("run", "--force").code == 0
    assert surveylab("verify").code == 0


def test_temporary_files_where_python_cannot_import_from(tmp_path):
    root = tmp_path / "a:b"
    (root / "src").mkdir(parents=True)
    with pytest.raises(WrongUse, match="since it holds ':'; TMPDIR names another folder"):
        kernel_environment(root, tmp_path / "settings")


def test_a_setting_of_the_arithmetic_is_named_where_results_differ():
    then, now = {"machine": {"threads": 1}}, {"machine": {"threads": 1, "settings": "MKL_CBWR=COMPATIBLE"}}
    assert not same_machine(then | {"versions": {"python": "3"}}, now | {"versions": {"python": "3"}})
    assert machine_changes(then, now) == ["the machine differs: MKL_CBWR None -> COMPATIBLE"]
