"""Where the book is published and where its sources lie: the two addresses that only the publisher knows.

Without them the book has no button and no tag that would lead nowhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, urlsplit

from surveylab.press.project import WrongUse


@dataclass(frozen=True)
class Site:
    """The addresses given to the build; an empty string where one is not known.

    Attributes:
        repository: front page of the repository, without a slash at its end.
        branch: the branch that the book is built from.
        address: where the book's front page is served, with a slash at its end.
    """

    repository: str = ""
    branch: str = "main"
    address: str = ""

    @classmethod
    def of(cls, repository: str | None = None, site: str | None = None, branch: str | None = None) -> Site:
        """Check what the command was given.

        Raises:
            WrongUse: an address or a branch that no link can be made from.
        """
        return cls(_repository(repository or ""), _branch(branch or "main"), _address(site or ""))

    @property
    def prefix(self) -> str:
        """The path under which the book is served, as `/` or `/book/`."""
        return urlsplit(self.address).path or "/"

    def page(self, name: str) -> str:
        """The full address of a file of the book."""
        return self.address + quote(name)

    def edit(self, path: str) -> str:
        """Where a file of the repository is edited."""
        return f"{self.repository}/edit/{quote(self.branch)}/{quote(path)}"

    def issue(self, title: str) -> str:
        """Where an issue is opened, with its title filled in."""
        return f"{self.repository}/issues/new?title={quote(title, safe='')}"

    def binder(self, notebook: str) -> str:
        """Where a notebook of the repository runs without installing anything.

        Binder installs the library by environment.yml; Colab would open a notebook without it.
        """
        place = f"gh{urlsplit(self.repository).path}/{quote(self.branch, safe='')}"
        return f"https://mybinder.org/v2/{place}?urlpath=lab/tree/{quote(notebook)}"


def _repository(given: str) -> str:
    if not given:
        return ""
    shown = f"--repository {given}"
    parts = _web_address(given, shown, "https://github.com/owner/name")
    path = parts.path.rstrip("/").removesuffix(".git")
    if parts.hostname != "github.com":
        raise WrongUse(f"{shown}: only repositories on GitHub are known to the book's buttons")
    if not re.fullmatch(r"/[\w.-]+/[\w.-]+", path):
        raise WrongUse(
            f"{shown}: give the address of the repository's front page, such as https://github.com/owner/name"
        )
    return f"{parts.scheme}://{parts.netloc}{path}"


def _address(given: str) -> str:
    if not given:
        return ""
    parts = _web_address(given, f"--site {given}", "https://owner.github.io/name/")
    path = re.sub(r"/(index|intro)\.html$", "", parts.path).rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path}/"


def _branch(given: str) -> str:
    if not re.fullmatch(r"[\w.+-]+(/[\w.+-]+)*", given):
        raise WrongUse(f"--branch {given}: this is not the name of a branch, such as main")
    return given


def _web_address(given: str, shown: str, example: str) -> SplitResult:
    """The parts of an address that a browser can open.

    Raises:
        WrongUse: it is none, or it says more than where something is.
    """
    try:
        parts = urlsplit(given)
        parts.port  # noqa: B018 - it is checked when it is read
    except ValueError as error:
        raise WrongUse(f"{shown}: not an address ({error}); write it like {example}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or " " in given:
        raise WrongUse(f"{shown}: write the whole address as a browser shows it, like {example}")
    if parts.query or parts.fragment or parts.username or parts.password:
        raise WrongUse(
            f"{shown}: an address with ?, # or a name before @ will not do; write it like {example}"
        )
    return parts
