"""Adaptive mechanisms of the survey: activations, optimisers, components, and conditional computation."""

__all__: list[str] = []
