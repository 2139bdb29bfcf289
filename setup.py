"""Puts the claims and learning rates into a built package, so that a chapter runs without a checkout.

Everything else about the package stands in pyproject.toml.
"""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithClaims(build_py):
    """As ever, and then `book/claims/` and `book/tuning/` into `surveylab/packaged/`."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:  # the checkout itself is there
            return
        for path in sorted([*Path("book/claims").rglob("*.yml"), *Path("book/tuning").rglob("*.json")]):
            target = Path(self.build_lib, "surveylab", "packaged", path)
            target.parent.mkdir(parents=True, exist_ok=True)
            self.copy_file(str(path), str(target))


setup(cmdclass={"build_py": BuildWithClaims})
