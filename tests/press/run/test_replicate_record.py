"""Each replication is kept in a file of its own, as far as it came, with what it was held against."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tiny_project import GOOD, card, read, write_chapter, write_notebook

from surveylab.claims import Replication, read_replications
from surveylab.claims.replications import design_of
from surveylab.press.project import PressError
from surveylab.press.run import replicate

pytestmark = pytest.mark.slow

SECOND = """\
- {id: two-exact, says: Equal., kind: identity, effect: Difference., margin: 0.001, why: Rounding.}
"""
CHECK_TWO = f"{GOOD[0]}\nrun.check('two-exact', [1e-7] * 20)"


def kept(root: Path) -> tuple[Replication, ...]:
    return read_replications(root / "book/replications")


def test_a_run_is_recorded_with_what_was_published_then(root, page, surveylab):
    assert surveylab("replicate", "one", "--seed", "7").code == 0
    (run,) = kept(root)
    assert abs((datetime.now(UTC).date() - datetime.fromisoformat(run.date).date()).days) <= 1
    assert (run.name, run.seed, run.retuned) == (f"{run.date}-seed-7", 7, False)
    chapter = run.chapters["demo/one"]
    assert (chapter.edition, chapter.tuning_seed, chapter.device) == (0, None, "cpu")
    assert chapter.design == design_of(read(page)["metadata"]["surveylab"])
    assert chapter.machine["processor"] == "test" and chapter.versions["tinylib"] == "1"
    assert list(chapter.claims) == ["tiny-gain", "tiny-exact"]  # what is only cited is not replicated
    gain, before = chapter.claims["tiny-gain"], card(read(page), "tiny-gain")["metadata"]["surveylab"]
    assert gain.repeats and gain.judged["margin"] == 1.0 and gain.published_verdict == "supported"
    assert (gain.published_estimate, gain.firmness) == (before["estimate"], before["firmness"])
    assert gain.estimate != before["estimate"] and gain.low < gain.estimate < gain.high
    assert gain.shift is not None and abs(gain.shift) < 4
    assert (gain.shift > 0) == (gain.estimate > gain.published_estimate)
    assert chapter.claims["tiny-exact"].shift is None


def test_no_run_overwrites_another(root, surveylab):
    assert surveylab("replicate", "--seed", "7").code == 0
    (first,) = (root / "book/replications").iterdir()
    before = first.read_bytes()
    said = surveylab("replicate", "--seed", "7")
    assert said.code == 0 and f"{first.stem} already; what it gives now will not count again" in said.out
    assert f"recorded in book/replications/{first.stem}-2.json" in said.out
    assert first.read_bytes() == before and len(kept(root)) == 2


@pytest.mark.parametrize("sign", [1, -1])
def test_the_opposite_verdict_is_recorded_and_fails_in_either_direction(new_root, surveylab, sign):
    path = new_root / "src/tinylib/method.py"
    path.write_text(path.read_text().replace("return 3 +", f"return {3 * sign} * (1 if seed == 0 else -1) +"))
    assert surveylab("run").code == 0
    said = surveylab("replicate", "--seed", "7")
    assert said.code == 1 and "OPPOSITE" in said.out
    (run,) = kept(new_root)
    gain = run.chapters["demo/one"].claims["tiny-gain"]
    words = ("supported", "contradicted")[::sign]
    assert gain.opposite and (gain.published_verdict, gain.verdict) == words


@pytest.fixture
def two(root: Path, surveylab) -> Path:
    """The project with a second chapter, published too, which has no rates."""
    (root / "book/claims/demo/two.yml").write_text(SECOND)
    write_chapter(root, "demo/two", [CHECK_TWO])
    assert surveylab("run", "two").code == 0
    return root


def test_an_interruption_loses_nothing_that_was_finished(two, surveylab, monkeypatch):
    whole = replicate.execute_all

    def interrupted(*given: Any) -> Any:
        yield next(whole(*given))
        raise KeyboardInterrupt

    monkeypatch.setattr(replicate, "execute_all", interrupted)
    assert surveylab("replicate", "--seed", "7").code == 130
    (run,) = kept(two)
    assert list(run.chapters) == ["demo/one"]
    monkeypatch.setattr(replicate, "execute_all", whole)
    assert surveylab("replicate", "two", "--seed", "8").code == 0
    assert [list(run.chapters) for run in kept(two)] == [["demo/one"], ["demo/two"]]


def test_a_chapter_published_on_that_seed_is_left_out_of_a_run_of_several(two, surveylab):
    path = two / "book/demo/one.ipynb"
    notebook = read(path)
    notebook["metadata"]["surveylab"]["seed"] = 7
    write_notebook(path, notebook)
    said = surveylab("replicate", "--seed", "7")
    assert said.code == 0 and "demo/one: published with seed 7; left out" in said.out
    (run,) = kept(two)
    assert list(run.chapters) == ["demo/two"]
    said = surveylab("replicate", "one", "--seed", "7")
    assert said.code == 2 and "demo/one: published with seed 7; choose another" in said.err


def test_a_record_that_cannot_be_written_leaves_no_file_behind(root, surveylab, monkeypatch):
    def full(path: Path, text: str) -> None:
        raise PressError(f"cannot write {path}: no space left on device")

    monkeypatch.setattr(replicate, "write_atomically", full)
    said = surveylab("replicate", "--seed", "7")
    assert said.code == 1 and "no space left" in said.err
    assert list((root / "book/replications").iterdir()) == []


def test_a_chapter_that_fails_is_left_out_of_the_record(two, surveylab):
    (two / "book/demo/one.ipynb").unlink()
    said = surveylab("replicate", "--seed", "7")
    assert said.code == 1 and "there is no such notebook" in said.out
    (run,) = kept(two)
    assert list(run.chapters) == ["demo/two"]


# Finds the seed it is run on for a rate, and gains as much as the rate it is given is large.
SWEEP = (
    "import json, os, pathlib\n"
    "if 'SURVEYLAB_TUNE' in os.environ:\n"
    "    point = {'rate': seed}\n"
    "    stage = {'points': [[point]], 'scores': [[[1.0, 2.0]]]}\n"
    "    found = {'best': [point], 'grid': {'rate': [seed]}, 'stages': [stage]}\n"
    "    pathlib.Path(os.environ['SURVEYLAB_TUNE']).write_text(json.dumps({'arm': found}))\n"
    "    rate = 0\n"
    "else:\n"
    "    file = pathlib.Path(os.environ['SURVEYLAB_ROOT'], 'book/tuning/{chapter}.json')\n"
    "    rate = json.loads(file.read_text())['arm']['best'][0]['rate']"
)
GAINS = "run.check('tiny-gain', [[rate + gain for gain in row] for row in tinylib.gains(seed)], data=None)"


@pytest.fixture
def tuned(two: Path, surveylab) -> Path:
    """The same, the first chapter with rates of its own."""
    write_chapter(two, "demo/one", [GOOD[0], SWEEP, GAINS, *GOOD[3:]])
    assert surveylab("tune", "one").code == 0 and surveylab("run").code == 0
    return two


def test_rates_are_found_anew_for_one_run_alone(tuned, surveylab):
    rates = (tuned / "book/tuning/demo/one.json").read_bytes()
    assert surveylab("replicate", "--seed", "7").code == 0
    assert surveylab("replicate", "--seed", "7", "--retune").code == 0
    assert (tuned / "book/tuning/demo/one.json").read_bytes() == rates
    assert [path.name for path in (tuned / "book/tuning").rglob("*.json")] == ["one.json"]
    plain, anew = kept(tuned)
    assert (plain.retuned, anew.retuned) == (False, True)
    assert [run.chapters["demo/one"].tuning_seed for run in (plain, anew)] == [None, 2007]
    assert anew.chapters["demo/two"].tuning_seed is None  # it has no rates to find
    before, after = (run.chapters["demo/one"].claims["tiny-gain"] for run in (plain, anew))
    assert after.estimate - before.estimate == pytest.approx(2007 - 1000)


def test_rates_that_cannot_be_found_leave_a_chapter_out(tuned, surveylab):
    path = tuned / "notebooks/demo/one.ipynb"
    path.write_text(path.read_text().replace("rate = 0", "raise ValueError('at the edge of its grid')"))
    assert surveylab("run").code == 0
    said = surveylab("replicate", "--seed", "7", "--retune")
    assert said.code == 1 and "at the edge of its grid" in said.out
    (run,) = kept(tuned)
    assert list(run.chapters) == ["demo/two"]


def test_rates_are_found_on_this_machine(root, surveylab):
    said = surveylab("replicate", "--seed", "7", "--retune", "--scheduler", "tcp://head:8786")
    assert said.code == 2 and "leave --scheduler out" in said.err


def test_what_cannot_be_read_or_written_is_said_before_anything_runs(root, surveylab, tmp_path):
    write_chapter(root, "demo/one", [*GOOD, f"open({str(tmp_path / 'ran')!r}, 'w').close()"])
    assert surveylab("run").code == 0
    (tmp_path / "ran").unlink()
    folder = root / "book/replications"
    folder.mkdir()
    (folder / "2026-01-31-seed-3.json").write_text("{")
    said = surveylab("replicate", "--seed", "7")
    assert said.code == 1 and "book/replications/2026-01-31-seed-3.json: not JSON" in said.err
    (folder / "2026-01-31-seed-3.json").unlink()
    folder.rmdir()
    folder.write_text("a file, not a folder")
    said = surveylab("replicate", "--seed", "7")
    assert said.code == 1 and "cannot write" in said.err
    assert not (tmp_path / "ran").exists()


def test_evidence_that_does_not_hold_together_is_not_recorded(root, surveylab):
    """Such as a verdict that the run's own values do not give."""
    path = root / "src/tinylib/__init__.py"
    wrong = "evidence = replace(evidence, firmness=0.5) if self.seed == 7 else evidence\n        said = "
    text = path.read_text().replace("said = ", wrong, 1)
    path.write_text(text.replace("import json\n", "import json\nfrom dataclasses import replace\n", 1))
    assert surveylab("run").code == 0
    said = surveylab("replicate", "--seed", "7")
    assert said.code == 1 and re.search(r"not recorded, .* tiny-gain: firmness: published 0\.5", said.out)
    assert kept(root) == ()
