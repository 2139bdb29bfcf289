"""`make audit`: are the pinned packages among known vulnerabilities?

Exits with 1 if one is, and with 0 if none is. Where the database cannot be reached nothing was looked up,
which is said and is no finding; in CI (CI=true) it is a failure: there the audit is what the job is for.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
COMMAND = ["-m", "pip_audit", "-r", "constraints.txt", "--no-deps", "--disable-pip", "-f", "json"]


def ask() -> str:
    """What pip-audit prints; empty if it could not reach its database."""
    call = [sys.executable, *COMMAND, "--progress-spinner", "off"]
    return subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False).stdout


def audit(ask: Callable[[], str] = ask) -> int:
    """Look all pins up, say what was found, and return the exit code."""
    try:
        found: list[dict[str, Any]] = json.loads(ask() or "{}").get("dependencies", [])
    except ValueError:
        found = []
    seen = [package for package in found if "skip_reason" not in package]
    if not seen:
        print("audit: the database of vulnerabilities cannot be reached from here: nothing was looked up")
        return 1 if os.environ.get("CI") == "true" else 0
    bad = [(package, hole) for package in seen for hole in package["vulns"]]
    for package, hole in bad:
        fixed = ", ".join(hole["fix_versions"]) or "no version yet"
        print(f"{package['name']} {package['version']}: {hole['id']}, fixed in {fixed}")
    skipped = [package["name"] for package in found if "skip_reason" in package]
    print(f"audit: {len(seen)} packages looked up, {len(bad)} vulnerabilities")
    if skipped:
        print(f"audit: not looked up: {', '.join(skipped)}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(audit())
