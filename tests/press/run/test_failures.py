"""Bad input and bad luck: one clear message, the right exit code, nothing half-written or lost."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_project import GOOD, make_project, read, write_chapter

from surveylab.press.run import executor as execution
from surveylab.press.run import kernel

BEGIN = GOOD[0]

FAILING = {
    "raises": [BEGIN, "# so far\nx = 1\ny = 2\nraise ValueError('nothing to see')"],
    "package": ["import surveylab_needs_this.part"],
    "module": ["import surveylab.no_such_room"],
    "killed": ["import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"],
    "warns": [BEGIN, "import warnings\nwarnings.warn('an old spelling')"],
    "path": [BEGIN, "import os\nprint('in', os.environ['SURVEYLAB_ROOT'])"],
    "silent": ["x = 1"],
    "unknown_claim": [BEGIN, "run.check('tiny-gian', [1])"],
    "missing_claim": [BEGIN],
    "twice": [BEGIN, "for _ in range(2):\n    run.check('tiny-paper')"],
    "syntax": [BEGIN, "def"],
    "pictures": [
        BEGIN,
        "from IPython.display import display\nfor _ in range(2):\n    display({'image/png': ''}, raw=True)",
    ],
}


@pytest.fixture(scope="module")
def wrecked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, str]:
    """A project with a chapter for each way to fail, and one that is well, run at once."""
    root = make_project(tmp_path_factory.mktemp("wrecked"))
    for name, code in FAILING.items():
        write_chapter(root, f"bad/{name}", code)
    text = (root / "book/claims/demo/one.yml").read_text()
    claim = text[text.index("- id: tiny-paper") :].replace("tiny-paper", "tiny-missing")
    other = root / "book/claims/bad/missing_claim.yml"
    other.parent.mkdir()
    other.write_text(claim)
    write_chapter(root, "bad/no_kernel", [BEGIN], kernel=None)
    write_chapter(root, "bad/other_kernel", [BEGIN], kernel="julia-1.9")
    (root / "notebooks/bad/not_json.ipynb").write_text("{")
    (root / "notebooks/bad/no_notebook.ipynb").write_text('{"a": 1}')
    path = write_chapter(root, "bad/no_parameters", [BEGIN])
    path.write_text(path.read_text().replace('"parameters"\n', '"other"\n'))
    path = root / "notebooks/bad/pictures.ipynb"
    path.write_text(path.read_text().replace('"metadata": {}', '"metadata": {"mystnb": {"figure": {}}}'))
    old = root / "book/bad/raises.ipynb"
    old.parent.mkdir(parents=True)
    old.write_text('{"cells": [], "metadata": {"surveylab": {"fingerprint": "old"}}}')
    environment = {**os.environ, "SURVEYLAB_ROOT": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", "from surveylab.press.cli import main; main()", "run"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stderr == ""
    return root, done.returncode, done.stdout


@pytest.mark.parametrize(
    ("chapter", "said"),
    [
        (
            "raises",
            "cell 4 of 4: ValueError: nothing to see\n    | # so far\n    | x = 1\n    | y = 2\n    | ...",
        ),
        ("package", "cell 3 of 3: the package 'surveylab_needs_this' is not installed: pip install"),
        ("module", "ModuleNotFoundError: No module named 'surveylab.no_such_room'"),
        ("killed", "cell 3 of 3: the kernel died"),
        ("warns", "cell 4 wrote to stderr, which would stand in the published page"),
        ("path", "cell 4 shows a path of this machine, which would stand in the published page"),
        ("silent", "it says nothing about its run"),
        ("unknown_claim", "cell 4 of 4: KeyError: tiny-gian"),
        (
            "missing_claim",
            "its evidence does not hold together:\n    | tiny-missing: a claim of this chapter",
        ),
        ("twice", "checked twice in one notebook"),
        ("syntax", "cell 4 is not Python"),
        (
            "pictures",
            "it cannot be built:\n    | the cell 'code-1' has the caption of one figure and shows 2",
        ),
        ("no_kernel", "it has no kernelspec 'python3': choose the kernel"),
        ("other_kernel", "it has no kernelspec 'python3', but 'julia-1.9': choose the kernel"),
        ("not_json", "not JSON"),
        ("no_notebook", "not a notebook"),
        ("no_parameters", "it has no cell tagged 'parameters': tag the one that"),
    ],
)
@pytest.mark.slow
def test_a_failing_chapter_is_reported_and_nothing_of_it_published(wrecked, chapter, said):
    root, code, out = wrecked
    assert code == 1
    start = out.index(f"bad/{chapter}: ")
    rest = out[start:].split("\nbad/")[0]
    assert said in rest
    if chapter != "raises":
        assert not (root / f"book/bad/{chapter}.ipynb").exists()


@pytest.mark.slow
def test_the_others_still_run(wrecked):
    root, _, out = wrecked
    assert "demo/one: executed in" in out
    assert (root / "book/demo/one.ipynb").exists()
    assert out.strip().endswith("17 of 18 chapters failed")


@pytest.mark.slow
def test_the_published_chapter_is_untouched_and_the_failed_one_kept_aside(wrecked):
    root, _, out = wrecked
    assert read(root / "book/bad/raises.ipynb")["metadata"]["surveylab"]["fingerprint"] == "old"
    assert "book/bad/raises.ipynb is unchanged" in out
    assert "with the traceback: _build/failed/bad/raises.ipynb" in out
    assert "nothing to see" in (root / "_build/failed/bad/raises.ipynb").read_text()


@pytest.mark.slow
def test_nothing_half_written_is_left(wrecked):
    root, _, _ = wrecked
    assert not [p for p in root.rglob(".*") if p.is_file()]


# ---------------------------------------------------------------------------------------------------- wrong
# use


@pytest.mark.parametrize("command", [["run"], ["status"], ["verify"], ["replicate", "--seed", "2"], ["tune"]])
def test_an_unknown_chapter_names_the_closest_and_all(root, surveylab, command):
    said = surveylab(*command, "demo/onne")
    assert said.code == 2
    assert "there is no chapter 'demo/onne'" in said.err
    assert "Did you mean demo/one?" in said.err and "the chapters are: demo/one" in said.err


@pytest.mark.parametrize(
    "name",
    [
        "one",
        "notebooks/demo/one.ipynb",
        "./notebooks/demo/one.ipynb",
        ".\\notebooks\\demo\\one.ipynb",
        "demo/one",
    ],
)
def test_a_chapter_has_several_names(root, surveylab, name):
    assert surveylab("status", name).code == 0


def test_an_ambiguous_chapter(root, surveylab):
    write_chapter(root, "other/one", GOOD)
    said = surveylab("status", "one")
    assert said.code == 2 and "demo/one or other/one" in said.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--profile", "fast"], "'smoke', 'standard', 'full'"),
        (["run", "--device", "tpu"], "'auto', 'cpu', 'cuda'"),
        (["run", "--seed", "-1"], "--seed"),
        (["run", "--candidate", "mine"], "package.module:Class"),
        (["run", "--candidate", "mine:a b"], "package.module:Class"),
        (["run", "--output", "{root}/book/full"], "may not lie inside book/"),
        (["run", "--timeout", "0"], "--timeout"),
        (["replicate"], "--seed"),
        (["replicate", "--seed", "0"], "published with seed 0"),
        (["tune", "one", "--seed", "0"], "--seed"),
        (["tune"], "CHAPTER"),
        (["jump"], "jump"),
    ],
)
def test_wrong_options(root, surveylab, arguments, said):
    answer = surveylab(*[a.format(root=root) for a in arguments])
    assert answer.code == 2
    assert said in answer.err


def test_mistakes_in_the_claims_are_said_before_anything_runs(root, surveylab, page):
    path = root / "book/claims/demo/one.yml"
    path.write_text(path.read_text().replace("margin: 1.0", "margn: 1.0"))
    before = page.read_bytes()
    for command in (["run"], ["status"], ["verify"], ["replicate", "--seed", "7"], ["tune", "one"]):
        said = surveylab(*command)
        assert said.code == 2
        assert said.err.startswith("surveylab: book/claims/demo/one.yml:6: claim tiny-gain: ")
        assert "did you mean 'margin'" in said.err
    assert page.read_bytes() == before


def test_a_citation_that_is_not_in_the_bibliography(root, surveylab):
    path = root / "book/claims/demo/one.yml"
    path.write_text(path.read_text().replace("[someone2020]", "[someone2021]", 1))
    said = surveylab("status")
    assert said.code == 2 and "someone2021" in said.err


def test_no_project(tmp_path, surveylab, monkeypatch):
    monkeypatch.setenv("SURVEYLAB_ROOT", str(tmp_path))
    said = surveylab("status")
    assert said.code == 2 and "no folder book/claims" in said.err


def test_no_chapters(root, surveylab):
    (root / "notebooks/demo/one.ipynb").unlink()
    (root / "book/claims/demo/one.yml").unlink()
    said = surveylab("run")
    assert said.code == 2 and "there is no chapter under" in said.err


@pytest.mark.slow
def test_an_absent_device_is_one_line_and_stops_at_once(root, page, surveylab):
    code = (
        "class DeviceError(RuntimeError): pass\nraise DeviceError('no CUDA device here: leave --device out')"
    )
    write_chapter(root, "demo/one", [code])
    write_chapter(root, "demo/two", [BEGIN])
    before = page.read_bytes()
    for command in (["run", "--device", "cuda"], ["verify", "--device", "cuda", "one"]):
        said = surveylab(*command)
        assert said.code == 2
        assert said.err == "surveylab: demo/one: no CUDA device here: leave --device out\n"
    assert page.read_bytes() == before and not (root / "book/demo/two.ipynb").exists()


@pytest.mark.slow
def test_a_candidate_that_is_not_there_is_wrong_use(root, surveylab):
    code = "class CandidateError(ValueError): pass\nraise CandidateError('cannot import mine')"
    write_chapter(root, "demo/one", [code])
    said = surveylab("run", "--profile", "smoke", "--candidate", "mine:Norm")
    assert (said.code, said.err) == (2, "surveylab: demo/one: cannot import mine\n")


# ------------------------------------------------------------------------------------------------------ bad
# luck


def test_a_folder_that_cannot_be_written_is_said_before_executing(new_root, surveylab, monkeypatch):
    # A file where the folder should be: unlike a mode it stops root too.
    (new_root / "book/demo").write_text("in the way")
    monkeypatch.setattr(execution, "perform", lambda *_: pytest.fail("executed for nothing"))
    said = surveylab("run")
    assert said.code == 1
    assert "demo/one: cannot write" in said.out and "book/demo" in said.out
    assert (new_root / "book/demo").read_text() == "in the way"


@pytest.mark.parametrize(
    "command", [["run", "--force"], ["tune", "one"], ["verify", "--report", "{root}/r.json"]]
)
@pytest.mark.slow
def test_a_disk_that_turns_read_only_leaves_everything_as_it_was(root, page, surveylab, monkeypatch, command):
    skipped = {"__pycache__", "tuning"} if command[0] == "tune" else {"__pycache__"}
    before = {p: p.read_bytes() for p in root.rglob("*") if p.is_file() and not skipped & set(p.parts)}
    real, calls = os.replace, []

    def refuse(source, target):
        if str(target).endswith(".probe"):
            return real(source, target)
        calls.append(target)
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "replace", refuse)
    said = surveylab(*[a.format(root=root) for a in command])
    assert said.code == 1 and calls
    assert "Read-only file system" in said.out + said.err
    after = {p: p.read_bytes() for p in root.rglob("*") if p.is_file() and not skipped & set(p.parts)}
    assert after == before


@pytest.mark.slow
def test_a_cell_that_takes_too_long(root, page, surveylab):
    write_chapter(root, "demo/one", ["import time\ntime.sleep(60)"])
    before = page.read_bytes()
    start = time.monotonic()
    said = surveylab("run", "--timeout", "1")
    assert said.code == 1
    assert "cell 3 of 3: the cell took longer than 1 s; --timeout raises the limit" in said.out
    assert time.monotonic() - start < 30
    assert page.read_bytes() == before


def test_no_kernel_is_installed(root, surveylab, monkeypatch):
    kernel._register_engine.cache_clear()
    monkeypatch.setitem(sys.modules, "ipykernel.kernelspec", None)
    said = surveylab("run", "--force")
    assert said.code == 1
    assert "demo/one: no kernel can be started" in said.out and "pip install ipykernel" in said.out


@pytest.mark.slow
def test_ctrl_c_shuts_the_kernel_down_and_leaves_the_published_chapter(root, page):
    note = root / "kernel.pid"
    write_chapter(
        root,
        "demo/one",
        [
            "import os, pathlib, time\n"
            f"pathlib.Path({str(note)!r}).write_text(str(os.getpid()))\ntime.sleep(120)"
        ],
    )
    before = page.read_bytes()
    process = subprocess.Popen(
        [sys.executable, "-c", "from surveylab.press.cli import main; main()", "run"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not (note.exists() and note.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    kernel = int(note.read_text())
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in err and "Traceback" not in out + err
    assert len(err.strip().splitlines()) == 1
    deadline = time.monotonic() + 10
    while Path(f"/proc/{kernel}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    with pytest.raises(ProcessLookupError):
        os.kill(kernel, 0)
    assert page.read_bytes() == before
    assert not [p for p in root.rglob(".*") if p.is_file()]
