"""Tuning replaces a file only when the whole chapter went through; replicating touches nothing published."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_project import GOOD, write_chapter

pytestmark = pytest.mark.slow


def tree(root: Path) -> dict[str, bytes]:
    """What an author sees; `_build/` is a place for what is left over."""
    skipped = {"__pycache__", "_build"}
    paths = (p for p in sorted(root.rglob("*")) if p.is_file() and not skipped & set(p.parts))
    return {str(p.relative_to(root)): p.read_bytes() for p in paths}


def test_tune_keeps_the_sweep_shows_it_and_makes_the_chapter_stale(root, surveylab):
    said = surveylab("tune", "demo/one")
    assert said.code == 0
    assert "0.1, 0.1, 0.1" in said.out and "0.1: 0.85" in said.out and "0.01: 0.55" in said.out
    path = root / "book/tuning/demo/one.json"
    search = json.loads(path.read_text())["arm"]
    assert search["best"] == [{"rate": 0.1}] * 3
    assert search["stages"][0]["scores"][0] == [[0.5, 0.6], [0.9, 0.8], [0.1, 0.2]]
    assert not (root / "_build/tuning/demo/one.json").exists()
    first = path.read_bytes()
    assert "learning rates changed" in surveylab("status").out
    assert surveylab("run").code == 0 and surveylab("status").code == 0
    assert surveylab("tune", "demo/one").code == 0
    assert path.read_bytes() == first
    assert surveylab("status").code == 0
    # Another rate in the same file is a change too.
    path.write_text(path.read_text().replace('"rate": 0.1', '"rate": 0.01'))
    said = surveylab("status")
    assert said.code == 1 and "demo/one: learning rates changed\n" in said.out
    assert "demo/one: executed in" in surveylab("run").out and surveylab("status").code == 0


def test_tune_uses_other_streams_than_the_published_run(root, surveylab):
    sweep = (
        "import json, os, pathlib\n"
        "stages = [{'points': [], 'scores': []}]\n"
        "found = {'best': [], 'grid': {}, 'stages': stages, 'seed': seed, 'profile': profile}\n"
        "if 'SURVEYLAB_TUNE' in os.environ:\n"
        "    pathlib.Path(os.environ['SURVEYLAB_TUNE']).write_text(json.dumps({'arm': found}))"
    )
    write_chapter(root, "demo/one", [GOOD[0], sweep])
    assert surveylab("tune", "one").code == 0
    kept = json.loads((root / "book/tuning/demo/one.json").read_text())
    assert kept["arm"]["seed"] == 1000 and kept["arm"]["profile"] == "standard"


SEEN = (
    "import json, os, pathlib\n"
    "if 'SURVEYLAB_TUNE' in os.environ:\n"
    "    known = json.loads(pathlib.Path(os.environ['SURVEYLAB_TUNE_KEPT']).read_text())\n"
    "    stages = [{'points': [], 'scores': []}]\n"
    "    found = {'best': [], 'grid': {}, 'stages': stages, 'known': sorted(known)}\n"
    "    pathlib.Path(os.environ['SURVEYLAB_TUNE']).write_text(json.dumps({'arm': found}))"
)


def test_tune_missing_shows_the_chapter_what_is_kept(root, surveylab):
    kept = root / "book/tuning/demo/one.json"
    write_chapter(root, "demo/one", [GOOD[0], SEEN])
    for options, known in (([], []), ([], []), (["--missing"], ["arm"])):
        assert surveylab("tune", "one", *options).code == 0
        assert json.loads(kept.read_text())["arm"]["known"] == known


def test_what_was_found_before_a_failure_is_taken_up_by_missing(root, surveylab):
    write_chapter(root, "demo/one", [GOOD[0], "tinylib.tuned('early')\nraise RuntimeError('later')"])
    assert surveylab("tune", "one").code == 1
    left = root / "_build/tuning/demo/one.json"
    assert list(json.loads(left.read_text())) == ["early"]
    write_chapter(root, "demo/one", [GOOD[0], SEEN])
    assert surveylab("tune", "one", "--missing").code == 0
    assert json.loads((root / "book/tuning/demo/one.json").read_text())["arm"]["known"] == ["early"]
    assert not left.exists()


@pytest.mark.parametrize("seed", [7, 999])
def test_rates_are_not_found_on_the_seeds_of_published_runs(root, surveylab, seed):
    said = surveylab("tune", "one", "--seed", str(seed))
    assert said.code == 2 and "rates are found on seeds from 1000 on" in said.err


def test_a_replication_is_not_on_the_seeds_of_the_tuning(root, page, surveylab):
    said = surveylab("replicate", "--seed", "1000")
    assert said.code == 2 and "choose one below" in said.err


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("tinylib.tuned('arm', best=1.0)", "arm: the best rate 1.0 lies at the edge of its grid"),
        ("tinylib.tuned('arm')\nraise RuntimeError('later')", "RuntimeError: later"),
        ("pass", "nothing was tuned"),
        ("open(__import__('os').environ['SURVEYLAB_TUNE'], 'w').write('{')", "no readable search"),
        ("open(__import__('os').environ['SURVEYLAB_TUNE'], 'w').write('{}')", "nothing was tuned"),
    ],
)
def test_a_failed_tuning_leaves_the_kept_file(root, surveylab, cell, said):
    path = root / "book/tuning/demo/one.json"
    path.parent.mkdir(parents=True)
    path.write_text("{}\n")
    write_chapter(root, "demo/one", [GOOD[0], cell])
    before = tree(root)
    answer = surveylab("tune", "one")
    assert answer.code == 1 and said in answer.err
    assert tree(root) == before


def test_replicate_lays_the_verdicts_side_by_side_and_touches_nothing_published(root, surveylab):
    before = tree(root)
    said = surveylab("replicate", "--seed", "7")
    assert said.code == 0
    row = next(line for line in said.out.splitlines() if line.startswith("tiny-gain "))
    assert row.count("supported") == 2 and row.endswith("same") and row.count("[") == 2
    after = tree(root)
    assert {name: after[name] for name in before} == before
    (new,) = after.keys() - before
    assert f"recorded in {new}\n" in said.out


def test_the_opposite_verdict_fails(root, surveylab):
    path = root / "src/tinylib/method.py"
    path.write_text(path.read_text().replace("return 3 +", "return (3 if seed == 0 else -3) +"))
    said = surveylab("replicate", "--seed", "7")
    assert said.code == 1 and "OPPOSITE" in said.out
    # What is published came from other code, so that this is no replication of it.
    assert "demo/one: will not be recorded, since it is stale: library code changed" in said.out
    assert not (root / "book/replications").exists()


def test_the_opposite_of_a_contradiction_fails_too(root, surveylab):
    path = root / "src/tinylib/method.py"
    path.write_text(path.read_text().replace("return 3 +", "return (-3 if seed == 0 else 3) +"))
    assert "1 contradicted, 1 supported, 1 cited" in surveylab("run").out
    said = surveylab("replicate", "--seed", "7")
    assert said.code == 1
    row = next(line for line in said.out.splitlines() if line.startswith("tiny-gain "))
    assert row.endswith("OPPOSITE") and row.index("contradicted") < row.index("supported")


def test_another_verdict_that_is_not_the_opposite_is_shown_only(root, surveylab):
    path = root / "src/tinylib/method.py"
    path.write_text(path.read_text().replace("return 3 +", "return (3 if seed == 0 else 1) +"))
    said = surveylab("replicate", "--seed", "7")
    assert said.code == 0 and "inconclusive" in said.out and "other" in said.out


def test_replicating_a_chapter_that_fails_or_was_never_run(root, page, surveylab):
    write_chapter(root, "demo/one", ["raise ValueError('no')"])
    said = surveylab("replicate", "--seed", "7")
    assert said.code == 1 and "ValueError: no" in said.out
    page.unlink()
    said = surveylab("replicate", "--seed", "7")
    assert said.code == 1 and "there is no such notebook" in said.out
