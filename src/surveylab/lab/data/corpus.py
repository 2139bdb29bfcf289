"""Text for language models: documents cut into windows of bytes, whose target is the next byte each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from surveylab.lab.data.dataset import Dataset, checksum

# How much of each package's text is tested on, validated on and trained on, about, in this order.
SHARES = (0.1, 0.1, 0.8)


@dataclass(frozen=True)
class Document:
    """A text, the module it comes from as ``package/path``, and the domain it belongs to."""

    module: str
    domain: str
    text: bytes


@dataclass(frozen=True, eq=False, kw_only=True)
class Corpus(Dataset):
    """Windows of text: x (N, T) holds bytes as int64, y (N, T) those that follow each.

    Windows of a document do not overlap, and none reaches beyond its document. A replicate trains,
    validates and tests on different modules.

    Attributes:
        domain: The domain of each window, (N,).
        domains: The name of each domain, such as the package a text comes from.
        module: The module of each window, (N,).
        modules: The name of each module.
        documents: The texts, in order.
    """

    domain: Tensor
    domains: tuple[str, ...]
    module: Tensor
    modules: tuple[str, ...]
    documents: tuple[Document, ...]

    @classmethod
    def cut(cls, name: str, documents: Sequence[Document], length: int) -> Corpus:
        """Cut documents into windows of ``length`` + 1 bytes; what is left at the end of each is not used.

        Raises:
            ValueError: If ``length`` is less than 1, or no document is long enough.
        """
        if length < 1:
            raise ValueError(f"length must be at least 1; got {length}")
        span = length + 1
        counts = [len(document.text) // span for document in documents]
        if not sum(counts):
            raise ValueError(f"no document of {name} has {span} bytes: choose a smaller length")
        used = b"".join(d.text[: n * span] for d, n in zip(documents, counts, strict=True))
        # Both are views of the same memory, shifted by one.
        windows = torch.from_numpy(np.frombuffer(used, np.uint8).astype(np.int64).reshape(-1, span))
        modules, module = _numbered([d.module for d in documents], counts)
        domains, domain = _numbered([d.domain for d in documents], counts)
        content = np.frombuffer(b"".join(d.text for d in documents), np.uint8)
        ends = np.cumsum([len(d.text) for d in documents], dtype=np.int64)
        return cls(
            name=name,
            x=windows[:, :-1],
            y=windows[:, 1:],
            classes=tuple(chr(byte) for byte in range(256)),
            half=None,
            sha256=checksum(content, ends),
            domain=domain,
            domains=domains,
            module=module,
            modules=modules,
            documents=tuple(documents),
        )

    def windows(self, length: int) -> Corpus:
        """The same text in windows of another length."""
        return Corpus.cut(self.name, self.documents, length)

    def with_domain(self, domain: str) -> Corpus:
        """The same text as one domain."""
        documents = [replace(document, domain=domain) for document in self.documents]
        return Corpus.cut(self.name, documents, self.x.shape[1])

    def __add__(self, other: Corpus) -> Corpus:
        """Both texts, in windows of this one's length; what both have of a module stays on one side."""
        name = f"{self.name}-and-{other.name}"
        return Corpus.cut(name, self.documents + other.documents, self.x.shape[1])

    def text(self, index: int) -> str:
        """A window to read, its last target included; bytes cut in half are shown as �."""
        window = [*self.x[index].tolist(), int(self.y[index, -1])]
        return bytes(window).decode("utf-8", errors="replace")

    def _draw(self, rng: np.random.Generator, train: int, validation: int, test: int) -> np.ndarray:
        side = self._sides(rng)[self.module.numpy()]
        drawn = []
        wanted = {"test": test, "validation": validation, "train": train}
        for number, (purpose, count) in enumerate(wanted.items()):
            there = rng.permutation(np.flatnonzero(side == number))
            if count > len(there):
                raise ValueError(
                    f"{self.name} has {len(there)} windows in a replicate's modules for {purpose}; "
                    f"{purpose} asks for {count}: ask for fewer or choose a smaller length"
                )
            drawn.append(there[:count])
        return np.concatenate(drawn[::-1])

    def _sides(self, rng: np.random.Generator) -> np.ndarray:
        """Whether each module is for testing (0), validation (1) or training (2): shares of each package."""
        sizes = np.bincount(self.module.numpy(), minlength=len(self.modules))
        package = np.array([name.partition("/")[0] for name in self.modules])
        side = np.empty(len(self.modules), dtype=np.int64)
        for one in dict.fromkeys(package):
            order = rng.permutation(np.flatnonzero(package == one))
            # A module belongs where its middle lies when all are laid end to end in this order.
            middle = np.cumsum(sizes[order]) - sizes[order] / 2
            side[order] = np.searchsorted(np.cumsum(SHARES[:-1]) * sizes[order].sum(), middle)
        return side


def _numbered(names: Sequence[str], counts: Sequence[int]) -> tuple[tuple[str, ...], Tensor]:
    """The different names in order, and the number of each document's, repeated ``counts`` times."""
    different = {name: number for number, name in enumerate(dict.fromkeys(names))}
    numbers = torch.tensor([different[name] for name in names])
    return tuple(different), numbers.repeat_interleave(torch.tensor(counts))
