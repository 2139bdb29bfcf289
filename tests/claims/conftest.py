"""The fixtures for tests that judge claims of their own."""

from example_claims import draw, make

__all__ = ["draw", "make"]
