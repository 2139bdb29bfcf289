"""Where a replicate's randomness comes from.

Replicate ``r`` of population ``p`` draws everything from ``SeedSequence(seed, spawn_key=(p, r, purpose))``. A
stream therefore depends on neither how many replicates run beside it nor in which order they are made, and
two purposes (the split of the data, the initialisation, …) never share a number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch

Purpose = Literal["split", "init", "batches", "noise", "probe", "objective"]
PURPOSES: tuple[str, ...] = get_args(Purpose)


@dataclass(frozen=True)
class Stream:
    """The random numbers of one replicate.

    Args:
        seed: The seed of the whole run, at least 0.
        population: Which of the disjoint populations the replicate belongs to, from 0.
        replica: Its place within that population, from 0.
    """

    seed: int
    population: int
    replica: int

    def _sequence(self, purpose: Purpose) -> np.random.SeedSequence:
        if purpose not in PURPOSES:
            raise ValueError(f"purpose must be one of {', '.join(PURPOSES)}; got {purpose!r}")
        return np.random.SeedSequence(
            self.seed, spawn_key=(self.population, self.replica, PURPOSES.index(purpose))
        )

    def numpy(self, purpose: Purpose) -> np.random.Generator:
        """A fresh NumPy generator for ``purpose``, at the start of its sequence."""
        return np.random.default_rng(self._sequence(purpose))

    def torch(self, purpose: Purpose) -> torch.Generator:
        """A fresh torch generator (CPU) for ``purpose``, at the start of its sequence."""
        return torch.Generator().manual_seed(self.torch_seed(purpose))

    def torch_seed(self, purpose: Purpose) -> int:
        """The 63-bit seed that `torch` gives its generator."""
        return int(self._sequence(purpose).generate_state(1, np.uint64)[0] >> 1)


def make_streams(seed: int, replicates: int, populations: int = 3) -> list[Stream]:
    """The streams of ``populations`` disjoint populations of ``replicates`` each, one after another."""
    if seed < 0:
        raise ValueError(f"seed must be at least 0; got {seed}")
    if replicates < 1 or populations < 1:
        raise ValueError(f"replicates and populations must be at least 1; got {replicates} and {populations}")
    return [Stream(seed, p, r) for p in range(populations) for r in range(replicates)]
