"""The start of a chapter: its profile, seed and device, and a record of the machine it runs on."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import torch

from surveylab.claims import (
    Claim,
    Evidence,
    RecordError,
    claims_files,
    find_root,
    load_claims,
    provenance_of,
    published_path,
    read_notebook,
)
from surveylab.claims.record import PACKAGED
from surveylab.lab.output import show
from surveylab.lab.streams import Stream, make_streams
from surveylab.lab.watching import watched

T = TypeVar("T")
# Replicates in each of the three populations.
REPLICATES = {"smoke": 2, "standard": 8, "full": 22}
# Sums split over threads round differently: on one, results do not depend on the number of cores.
THREADS = 1
# Variables by which libraries choose their instructions, their precision or the order of their sums.
ARITHMETIC = re.compile(
    r"(ATEN|ONEDNN|DNNL|MKL|OMP|OPENBLAS|CUBLAS|CUDNN)_\w+|KMP_(DETERMINISTIC|FORCE)_REDUCTION"
    r"|NPY_(DIS|EN)ABLE_CPU_FEATURES|GLIBC_TUNABLES|(NVIDIA|TORCH)_\w*TF32\w*"
)
NO_ARITHMETIC = re.compile(
    r"OMP_(NUM_THREADS|WAIT_POLICY|PROC_BIND|PLACES|STACKSIZE|DISPLAY_\w+)|\w+_VERBOSE|MKL_THREADING_LAYER"
    r"|(ONEDNN|DNNL)_(JIT_DUMP|JIT_PROFILE|PRIMITIVE_CACHE_CAPACITY)|CUDNN_LOG\w+|MKL_SERVICE_\w+"
)
PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "scikit-image", "surveylab")


class DeviceError(RuntimeError):
    """The device asked for is unknown or not there."""


@dataclass
class Run:
    """One run, of a chapter or of one's own work.

    Attributes:
        chapter: Its name, ``section/chapter``; None where it has none.
        profile: ``"smoke"``, ``"standard"`` or ``"full"``.
        seed: From which every replicate's stream derives.
        device: Where tensors live.
        root: The project's folder; without a checkout, what the installed package carries of it.
        claims: The book's claims, by id.
        evidence: What has been checked so far, by claim.
        strategies: How the replicas of each arm ran, ``"vmap"`` or ``"loop"``.
    """

    chapter: str | None
    profile: str
    seed: int
    device: torch.device
    root: Path
    claims: dict[str, Claim]
    evidence: dict[str, Evidence] = field(default_factory=dict)
    strategies: dict[str, str] = field(default_factory=dict)

    @property
    def registered(self) -> bool:
        """Whether this is a chapter of the book, whose claims were written down before."""
        return any(claim.chapter == self.chapter for claim in self.claims.values())

    @property
    def replicates(self) -> int:
        """Replicates in each of the three populations."""
        return REPLICATES[self.profile]

    def streams(self, times: int = 1, *, replicates: int | None = None) -> list[Stream]:
        """One stream a replicate, population by population.

        Args:
            times: How many times the profile's number of replicates, where runs are short.
            replicates: The number that the claims have planned for each population, in place of the
                profile's; at smoke that remains.
        """
        planned = self.replicates if replicates is None or self.profile == "smoke" else replicates
        return make_streams(self.seed, times * planned)

    def pick(self, *, smoke: T, standard: T, full: T | None = None) -> T:
        """The value for this run's profile; ``full`` is ``standard`` unless given."""
        if self.profile == "smoke":
            return smoke
        return full if self.profile == "full" and full is not None else standard

    def by_population(self, values: torch.Tensor) -> torch.Tensor:
        """One value a replicate, (3n,), as populations: (3, n), in double precision on the CPU."""
        fewest = min(self.replicates, REPLICATES["standard"])
        if values.numel() < 3 * fewest or values.numel() % 3:
            raise ValueError(
                f"values must be one a replicate, three populations of at least {fewest}; "
                f"got shape {tuple(values.shape)}"
            )
        return values.detach().double().cpu().reshape(3, -1)


_current: Run | None = None


def begin(
    chapter: str | None = None, *, profile: str = "standard", seed: int = 0, device: str = "auto"
) -> Run:
    """Start a run and show what it is; to a person who watches a chapter, also how long it will take.

    A chapter's claims and learning rates are those of the checkout around the working folder, or that
    ``SURVEYLAB_ROOT`` names; without one, those that came with the installed package. One's own work needs no
    chapter: arms are then tuned when they are first run, and what is checked has no verdict.

    Args:
        chapter: Its name, ``section/chapter``; or any name, or none, for work of one's own.
        profile: ``"smoke"`` (seconds; decides nothing), ``"standard"`` (what the book publishes) or
            ``"full"`` (wider and longer, for a GPU).
        seed: From which every replicate's stream derives, at least 0.
        device: ``"auto"`` (a GPU if there is one), ``"cpu"`` or ``"cuda"``.

    Raises:
        ValueError: If the profile or the seed is unknown or out of range.
        DeviceError: If the device is unknown or not there.
    """
    global _current
    if profile not in REPLICATES:
        raise ValueError(f"profile must be one of {', '.join(REPLICATES)}; got {profile!r}")
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise ValueError(f"seed must be a whole number of at least 0; got {seed!r}")
    chosen = _device(device)
    if not os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(THREADS)
    root, claims = _book(chapter)
    _current = Run(chapter, profile, seed, chosen, root, claims)
    record = {
        "chapter": chapter,
        "profile": profile,
        "seed": seed,
        "device": chosen.type,
        "machine": machine(chosen),
        "versions": versions(),
    }
    text = f"{profile}: 3 × {_current.replicates} replicates"
    if not _current.registered:
        text = f"{chapter or 'own work'}, {text}, seed {seed}, {chosen.type}"
    show({"text/plain": text}, {"surveylab": {"run": record}})
    if watched() and _current.registered:
        print(_outlook(_current))
    return _current


def _book(chapter: str | None) -> tuple[Path, dict[str, Claim]]:
    """The book's folder and claims; for one's own work neither need be there.

    Raises:
        ValueError: The chapter's name is almost that of one in the book.
        RecordError: A chapter is named, and there is no book to be found.
    """
    try:
        root = find_root(packaged=True)
    except RecordError:
        if chapter is None:
            return Path.cwd(), {}
        raise
    claims = {} if chapter is None else load_claims(root / "book" / "claims")
    known = claims_files(root / "book" / "claims")
    if chapter is not None and chapter not in known:
        sections = {name.partition("/")[0] for name in known}
        near = get_close_matches(chapter, known, n=1)
        # Only in what is nearly a section of the book: work of one's own may have a chapter's name.
        if near and get_close_matches(chapter.partition("/")[0], sections, n=1, cutoff=0.8):
            raise ValueError(f"chapter {chapter!r} has no claims in the book; did you mean {near[0]!r}?")
    return root, claims


def _outlook(run: Run) -> str:
    """What lies ahead, in words: how long it takes, what it decides, where the published results are."""
    assert run.chapter is not None
    published = published_path(run.root, run.chapter)
    try:
        record = provenance_of(read_notebook(published))
    except RecordError:
        record = {}
    standard = "standard takes some minutes on one core"
    if record.get("duration"):
        processor = str(record.get("machine", {}).get("processor")).partition(",")[0]
        standard = f"standard took {record['duration']:.0f} s when it was published ({processor})"
    smoke = "shows in seconds that everything runs and decides no claim"
    ahead = {
        "smoke": f"smoke {smoke}; {standard}.",
        "standard": f'{standard}. profile = "smoke" {smoke}.',
        "full": f"full is for a GPU; {standard}.",
    }[run.profile]
    if run.root == PACKAGED:
        return f"{ahead}\nNo checkout is around: the claims are those that came with the installed package."
    return f"{ahead}\nPublished results: {published}" if record else ahead


def active() -> Run | None:
    """The run that `begin` started, or None where none has begun."""
    return _current


def current() -> Run:
    """The run that `begin` started.

    Raises:
        RuntimeError: If none has been started.
    """
    if _current is None:
        raise RuntimeError(
            "no run has begun; call lab.begin() first, or lab.begin('section/chapter', profile=profile)"
        )
    return _current


def machine(device: torch.device) -> dict[str, Any]:
    """The kind of machine, as far as results depend on it."""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    found = {
        "processor": _processor(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "accelerator": gpu,
        "system": f"{platform.system()} {platform.machine()}",
    }
    settings = [f"{name}={value}" for name, value in sorted(os.environ.items()) if value and _counts(name)]
    return found | ({"settings": ", ".join(settings)} if settings else {})


def _counts(name: str) -> bool:
    """Whether a variable changes the arithmetic of compiled libraries. Waiting, placing and reporting do not,
    and the number of threads is recorded by itself.
    """
    return bool(ARITHMETIC.fullmatch(name)) and not NO_ARITHMETIC.fullmatch(name)


def versions() -> dict[str, str]:
    """The versions of what results depend on."""
    found = {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}
    # Builds of one version differ in what they compute, and only torch itself tells them apart.
    return found | {"torch": str(torch.__version__)}


def _device(name: str) -> torch.device:
    if name not in ("auto", "cpu", "cuda"):
        raise DeviceError(f"device must be 'auto', 'cpu' or 'cuda'; got {name!r}")
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise DeviceError("device 'cuda' was asked for, but torch finds no CUDA device; use 'cpu' or 'auto'")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and available) else "cpu")


def _processor() -> str:
    """The processor's model, with family and stepping where the system tells them: clouds give bare names."""
    if platform.system() == "Darwin":  # where Python knows no more than "arm"
        asked = subprocess.run(
            ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"],
            capture_output=True,
            text=True,
            check=False,
        )
        return asked.stdout.strip() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    pairs = (line.partition(":") for line in lines)
    facts = {key.strip(): value.strip() for key, _, value in pairs}
    name = facts.get("model name", platform.machine())
    numbers = [
        f"{key} {facts[key]}" for key in ("cpu family", "model", "stepping", "cache size") if key in facts
    ]
    return ", ".join([name, *numbers])
