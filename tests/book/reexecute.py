"""Execute the published chapters again with nbval, in verify mode.

In verify mode `lab.check` compares the new values with the published ones, raises where the rule says that
they differ, and otherwise shows the published verdict, so that an interval at a margin cannot flip a test.
nbval then compares every output; `nbval.cfg` beside this file says what it passes over. Full editions are
left out: they are dated.

    python tests/book/reexecute.py                                  all published chapters
    python tests/book/reexecute.py book/normalization/batch_norm.ipynb -x
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from surveylab.claims import find_root
from surveylab.press.run.environment import kernel_environment
from surveylab.press.run.kernel import START_TIMEOUT

CELL_TIMEOUT = 600


def chapters(root: Path) -> list[Path]:
    """The published notebooks, without the full editions."""
    book = root / "book"
    found = (path.relative_to(book) for path in sorted(book.rglob("*.ipynb")))
    left_out = {"full", "_build", ".ipynb_checkpoints"}
    return [book / path for path in found if not left_out & set(path.parts)]


def command(paths: list[Path], options: list[str]) -> list[str]:
    """The call of pytest, to be made with the environment of `environment`."""
    policy = Path(__file__).with_name("nbval.cfg")
    return [
        *(sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env"),
        *("--nbval-sanitize-with", str(policy)),
        *("--nbval-cell-timeout", str(CELL_TIMEOUT)),
        *("--nbval-kernel-startup-timeout", str(START_TIMEOUT)),
        *("-p", "no:cacheprovider", "--rootdir", str(find_root())),
        *options,
        *map(str, paths),
    ]


def environment(root: Path, settings: Path) -> dict[str, str]:
    """What `surveylab run` gives a kernel, and verify mode."""
    return kernel_environment(root, settings) | {"SURVEYLAB_VERIFY": "1"}


def main(arguments: list[str]) -> int:
    """Run pytest and return its exit code; 1 if there is nothing to execute."""
    root = find_root()
    named = [Path(a).resolve() for a in arguments if a.endswith(".ipynb")]
    paths = named or chapters(root)
    if not paths:
        print(f"no published chapter under {root / 'book'}: `surveylab run` publishes them", file=sys.stderr)
        return 1
    options = [a for a in arguments if not a.endswith(".ipynb")]
    with tempfile.TemporaryDirectory(prefix="surveylab-") as folder:
        given = environment(root, Path(folder))
        return subprocess.run(command(paths, options), cwd=root, env=given, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
