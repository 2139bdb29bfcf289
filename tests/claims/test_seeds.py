"""Published seeds follow from chapter and edition, apart from those of design."""

from __future__ import annotations

import hashlib

import pytest

from surveylab.claims import FIRST_DESIGN_SEED, publication_seed


def test_the_seed_is_pinned() -> None:
    """Another formula would re-roll every published chapter."""
    digest = hashlib.sha256(b"normalization/batch_norm@1").hexdigest()
    assert publication_seed("normalization/batch_norm", 1) == int(digest[:16], 16) % 1000


def test_no_published_seed_is_one_of_design() -> None:
    seeds = [publication_seed(f"section/chapter_{i}", e) for i in range(200) for e in range(1, 6)]
    assert min(seeds) >= 0
    assert max(seeds) < FIRST_DESIGN_SEED == 1000
    assert len(set(seeds)) > 550  # 1000 draws of 1000: 632 distinct ones are to be expected


def test_a_new_edition_has_another_seed() -> None:
    assert publication_seed("a/b", 1) != publication_seed("a/b", 2)
    with pytest.raises(ValueError, match="edition must be at least 0; got -1"):
        publication_seed("a/b", -1)


def test_what_was_published_before_editions_keeps_its_seed() -> None:
    assert publication_seed("a/b", 0) == 0
