"""What runs on the repository's host: valid, pinned, with the fewest rights, and calling what exists.

Hooks are held to the Makefile too, so that a commit is judged by what `make lint` judges by.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from surveylab.press.cli import cli

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
READ = {"contents": "read"}
RIGHTS = {
    "check": {"test": READ, "elsewhere": READ},
    "verify": dict.fromkeys(("verify", "retune", "reexecute", "replicate", "audit", "conda"), READ)
    | {"tell": {"issues": "write"}},
    "publish": {"build": READ | {"pages": "read"}, "deploy": {"pages": "write", "id-token": "write"}},
}
# What somebody else may write: it must never become part of a script.
OF_OTHERS = r"\$\{\{"


def read(path: Path) -> dict[Any, Any]:
    found: dict[Any, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def steps(workflow: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for job in workflow["jobs"].values():
        yield from job["steps"]


def test_there_is_a_check_a_verification_and_a_publication() -> None:
    assert {path.stem for path in WORKFLOWS} == {"check", "verify", "publish"}
    verify = read(ROOT / ".github/workflows/verify.yml")
    assert "schedule" in verify[True]  # YAML 1.1 reads `on` as a truth value
    assert "push" in read(ROOT / ".github/workflows/check.yml")[True]


@pytest.mark.parametrize("path", [*WORKFLOWS, ROOT / ".github/dependabot.yml"], ids=lambda path: path.stem)
def test_it_fits_the_schema(path: Path) -> None:
    schema = "vendor.dependabot" if path.stem == "dependabot" else "vendor.github-workflows"
    call = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(path)]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_it_has_no_more_rights_than_it_needs(path: Path) -> None:
    workflow = read(path)
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        assert 0 < job["timeout-minutes"] <= 120
        assert all(step.get("timeout-minutes", 0) < job["timeout-minutes"] for step in job["steps"])
    assert {name: job["permissions"] for name, job in workflow["jobs"].items()} == RIGHTS[path.stem]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_by_commit_and_leave_no_credentials(path: Path) -> None:
    uses = re.findall(r"uses: (.*)", path.read_text(encoding="utf-8"))
    assert uses
    for line in uses:
        assert re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40} # v\d+(\.\d+){2}", line), line
    for step in steps(read(path)):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_no_script_takes_in_what_others_write(path: Path) -> None:
    for step in steps(read(path)):
        assert not re.search(OF_OTHERS, step.get("run", "")), "pass it through env"


def calls(pattern: str) -> Iterator[str]:
    for path in WORKFLOWS:
        for step in steps(read(path)):
            yield from re.findall(pattern, step.get("run", ""))


def test_every_target_and_command_that_is_called_exists() -> None:
    targets = set(calls(r"\bmake ([\w-]+)"))
    assert targets >= {"setup", "audit"}
    for target in targets:
        assert re.search(rf"(?m)^{target}:", MAKEFILE), target
    assert (ROOT / ".ci/run").is_file()
    commands = list(calls(r"\bsurveylab (?!surveylab)([^\n|&;]+)"))
    assert len(commands) >= 4
    for line in commands:
        name, *words = line.split()
        command = cli.commands[name]
        known = {o for p in command.params if isinstance(p, click.Option) for o in p.opts}
        assert {word for word in words if word.startswith("--")} <= known, line


def test_the_book_is_told_where_it_is_published() -> None:
    (line,) = calls(r"(surveylab build --repo[^\n]*)")
    assert '--repository "$GITHUB_SERVER_URL/$GITHUB_REPOSITORY"' in line and '--site "$SITE"' in line


# ------------------------------------------------------------------------------------------ the issue

# Stands for the host's command: keeps its calls and the texts it is sent, and says which issue is open.
GH = """#!/bin/bash
printf '%s\\n' "$*" >> calls
for word in "$@"; do if [ -f "$word" ]; then cat "$word" >> calls; fi; done
if [ "$1 $2" = "issue list" ]; then printf '%s' "$OPEN"; fi
"""


def tell(
    folder: Path,
    *,
    opened: str,
    report: str | None,
    verified: str = "success",
    retuned: str = "success",
    reexecuted: str = "success",
    replicated: str = "success",
    audited: str = "success",
    installed: str = "success",
) -> str:
    """Run the script of the job `tell` as the host does, and return what it asked the host for."""
    job = read(ROOT / ".github/workflows/verify.yml")["jobs"]["tell"]
    (script,) = [step["run"] for step in job["steps"] if "run" in step]
    program = folder / "bin/gh"
    program.parent.mkdir()
    program.write_text(GH, encoding="utf-8")
    program.chmod(0o755)
    if report is not None:
        (folder / "report.md").write_text(report, encoding="utf-8")
    given = {"PATH": f"{program.parent}:{os.environ['PATH']}", "OPEN": opened, "RUN": "the run"}
    given |= {"VERIFIED": verified, "RETUNED": retuned, "REEXECUTED": reexecuted}
    given |= {"REPLICATED": replicated}
    given |= {"AUDITED": audited, "INSTALLED": installed}
    assert given.keys() - {"PATH", "OPEN"} <= job["env"].keys()
    others = read(ROOT / ".github/workflows/verify.yml")["jobs"].keys() - {"tell"}
    assert set(job["needs"]) == others
    call = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    done = subprocess.run(call, cwd=folder, env=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return (folder / "calls").read_text(encoding="utf-8")


needs_bash = pytest.mark.skipif(sys.platform == "win32", reason="that job runs on Linux")


@needs_bash
def test_what_no_longer_holds_opens_an_issue(tmp_path: Path) -> None:
    said = tell(tmp_path, opened="", report="**1 problem**", verified="failure")
    assert "label create verification" in said and "issue create" in said and "issue comment" not in said
    assert "**1 problem**" in said and "Verification: failure." in said and "the run" in said


@needs_bash
def test_an_open_issue_is_continued(tmp_path: Path) -> None:
    said = tell(tmp_path, opened="5", report="**1 problem**", verified="failure")
    assert "issue comment 5" in said and "issue create" not in said and "**1 problem**" in said


@needs_bash
def test_an_output_that_differs_is_told_too(tmp_path: Path) -> None:
    said = tell(tmp_path, opened="", report="**holds**", reexecuted="failure")
    assert "issue create" in said and "Re-execution: failure." in said


@needs_bash
def test_a_verdict_that_another_seed_turns_around_is_told_too(tmp_path: Path) -> None:
    said = tell(tmp_path, opened="", report="**holds**", replicated="failure")
    assert "issue create" in said and "On another seed: failure." in said


@needs_bash
def test_each_week_has_a_seed_of_its_own_below_those_of_tuning(tmp_path: Path) -> None:
    job = read(ROOT / ".github/workflows/verify.yml")["jobs"]["replicate"]
    (script,) = [step["run"] for step in job["steps"] if "GITHUB_ENV" in step.get("run", "")]
    for week in range(2969, 3003):  # from a week of 2026 on
        date = tmp_path / "date"
        date.write_text(f"#!/bin/bash\necho {week * 604800 + 360000}\n", encoding="utf-8")
        date.chmod(0o755)
        given = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "GITHUB_ENV": str(tmp_path / "env")}
        subprocess.run(["bash", "-e", "-c", script], env=given, check=True)
    seeds = (tmp_path / "env").read_text(encoding="utf-8").splitlines()
    assert seeds[:2] == ["SEED=969", "SEED=970"] and seeds[-1] == "SEED=2"
    assert len(set(seeds)) == len(seeds) == 34
    (upload,) = [step["with"] for step in job["steps"] if "upload-artifact" in step.get("uses", "")]
    assert set(re.findall(r"book/replications/\*-seed-\$\{\{ env\.SEED \}\}[-.]", upload["path"]))


@needs_bash
def test_a_sweep_that_does_not_repeat_is_told_too(tmp_path: Path) -> None:
    said = tell(tmp_path, opened="", report="**holds**", retuned="failure")
    assert "issue create" in said and "Sweeps: failure." in said


def test_who_looks_for_silent_changes_has_what_was_published_before() -> None:
    """A shallow checkout holds one commit, in which a margin and its record may have changed together."""
    for workflow, job in (("check", "test"), ("publish", "build"), ("verify", "verify")):
        steps = read(ROOT / f".github/workflows/{workflow}.yml")["jobs"][job]["steps"]
        assert steps[0]["with"]["fetch-depth"] == 0


def test_each_week_the_sweeps_of_one_chapter_are_repeated() -> None:
    steps = read(ROOT / ".github/workflows/verify.yml")["jobs"]["retune"]["steps"]
    assert any("surveylab verify --retune --in-turn" in step.get("run", "") for step in steps)


@needs_bash
def test_a_known_vulnerability_is_told_too(tmp_path: Path) -> None:
    said = tell(tmp_path, opened="", report="**holds**", audited="failure")
    assert "issue create" in said and "Audit of dependencies: failure." in said


@needs_bash
def test_an_environment_that_conda_cannot_make_is_told_too(tmp_path: Path) -> None:
    said = tell(tmp_path, opened="", report="**holds**", installed="failure")
    assert "issue create" in said and "With conda: failure." in said


@needs_bash
def test_a_verification_without_a_report_is_told_too(tmp_path: Path) -> None:
    said = tell(tmp_path, opened="", report=None, verified="failure")
    assert "issue create" in said and "The verification left no report." in said


@needs_bash
def test_when_all_holds_again_the_issue_is_closed(tmp_path: Path) -> None:
    assert "issue close 5 --comment Everything holds again: the run" in tell(
        tmp_path, opened="5", report="**holds**"
    )


@needs_bash
def test_when_all_holds_nothing_is_said(tmp_path: Path) -> None:
    said = tell(tmp_path, opened="", report="**holds**")
    assert said.startswith("issue list") and said.count("\n") == 1


# ------------------------------------------------------------------------------------------ hooks


def hooks() -> list[dict[str, Any]]:
    config = read(ROOT / ".pre-commit-config.yaml")
    return [hook for repo in config["repos"] for hook in repo["hooks"]]


def test_the_hooks_are_what_make_lint_does() -> None:
    lint = MAKEFILE.partition("lint: $(READY)\n")[2].partition("\n\n")[0]
    commands = [line.strip().replace("$(BIN)", ".venv/bin") for line in lint.splitlines()]
    entries = [hook["entry"] for hook in hooks()]
    assert entries[: len(commands)] == commands
    assert [hook["entry"] for hook in hooks() if hook.get("stages") == ["pre-push"]] == ["make check"]
    assert all(hook["language"] == "system" for hook in hooks())  # nothing is fetched
    for entry in entries[len(commands) : -1]:
        assert entry.startswith(".venv/bin/pytest -q ") and (ROOT / entry.split()[-1]).is_file()


def test_the_hooks_are_valid() -> None:
    call = [sys.executable, "-m", "pre_commit", "validate-config", str(ROOT / ".pre-commit-config.yaml")]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
