"""Every norm passes the checks that all methods share."""

from __future__ import annotations

from methods import Case, MethodTests

from surveylab.normalization import (
    AdaIN,
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    GhostBatchNorm2d,
    GroupNorm,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
    LayerNorm,
)

PICTURES = [(4, 4, 3, 2)]
VOLUMES = [(3, 4, 2, 2, 2)]
EVERY = {"affine": True, "track_running_stats": True}
PLAIN = {"affine": False, "track_running_stats": False}


class TestBatchNorm(MethodTests):
    cases = (
        Case("training", lambda: BatchNorm2d(4), PICTURES, dynamic=[(0, 2, 3)]),
        Case("evaluation", lambda: BatchNorm2d(4).eval(), PICTURES, dynamic=[(0, 2, 3)]),
        Case("features, average", lambda: BatchNorm1d(3, momentum=None), [(6, 3)], dynamic=[(0,)]),
        Case(
            "sequences, plain",
            lambda: BatchNorm1d(3, **PLAIN),
            [(4, 3, 5)],
            dynamic=[(0, 2)],
        ),
        Case("volumes, no bias", lambda: BatchNorm3d(4, bias=False), VOLUMES, dynamic=[(0, 2, 3, 4)]),
        Case("ghost", lambda: GhostBatchNorm2d(4, 2, momentum=None), PICTURES, dynamic=[(0, 2, 3)]),
        Case(
            "ghost, evaluation",
            lambda: GhostBatchNorm2d(4, 2).eval(),
            PICTURES,
            dynamic=[(0, 2, 3)],
        ),
    )


class TestLayerNorm(MethodTests):
    cases = (
        Case("tokens", lambda: LayerNorm(6), [(4, 5, 6)], dynamic=[(0, 1)]),
        Case("pictures", lambda: LayerNorm((4, 3, 2), bias=False), PICTURES, dynamic=[(0,)]),
        Case("plain", lambda: LayerNorm(6, elementwise_affine=False), [(4, 6)], dynamic=[(0,)]),
    )


class TestInstanceNorm(MethodTests):
    cases = (
        Case("plain", lambda: InstanceNorm2d(4), PICTURES, dynamic=[(0, 2, 3)]),
        Case("running", lambda: InstanceNorm2d(4, **EVERY), PICTURES, dynamic=[(0, 2, 3)]),
        Case("evaluation", lambda: InstanceNorm2d(4, **EVERY).eval(), PICTURES, dynamic=[(0, 2, 3)]),
        Case("sequence without batch", lambda: InstanceNorm1d(3, **EVERY), [(3, 7)], dynamic=[(1,)]),
        Case("volumes", lambda: InstanceNorm3d(4, affine=True), VOLUMES, dynamic=[(0, 2, 3, 4)]),
    )


class TestGroupNorm(MethodTests):
    cases = (
        Case("pictures", lambda: GroupNorm(2, 4), PICTURES, dynamic=[(0, 2, 3)]),
        Case("features", lambda: GroupNorm(2, 6), [(4, 6)], dynamic=[(0,)]),
        Case("plain", lambda: GroupNorm(1, 6, affine=False), [(4, 6, 5)], dynamic=[(0, 2)]),
    )


class TestAdaIN(MethodTests):
    cases = (Case("pictures", lambda: AdaIN(3, 2), [(4, 3, 3, 2), (4, 2)], dynamic=[(0, 2, 3), (0,)]),)
