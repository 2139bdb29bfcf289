"""Which seeds may be used for what.

Seeds from 1000 on are for design, pilots and tuning. A chapter is published on a seed below 1000 that nobody
chooses: it follows from the chapter's name and its edition. So nothing can be tried on the random numbers of
the published result beforehand, and a new edition, after a change of the design, has new ones. Chapters that
were published before editions were counted are edition 0, on seed 0.
"""

from __future__ import annotations

import hashlib

#: Design, pilots and tuning use this seed or a larger one; published seeds are smaller.
FIRST_DESIGN_SEED = 1000


def publication_seed(chapter: str, edition: int) -> int:
    """The seed on which an edition of a chapter is published: SHA-256("chapter@edition") modulo 1000.

    Two chapters may share a seed; their experiments have nothing else in common.

    Args:
        chapter: ``section/chapter``.
        edition: 1 for the first; 0, whose seed is 0, for what was published before editions were counted.

    Raises:
        ValueError: If the edition is below 0.
    """
    if edition < 0:
        raise ValueError(f"edition must be at least 0; got {edition}")
    if edition == 0:
        return 0
    digest = hashlib.sha256(f"{chapter}@{edition}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % FIRST_DESIGN_SEED
