"""The one table of tolerances, by dtype; tensors are compared element by element."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tolerance:
    """An element may differ by `absolute + relative * |expected|`."""

    relative: float
    absolute: float


# Room for sums in another order: some hundred roundings in float64 and float32; in half precision, two
# roundings of the stored value.
TOLERANCES = {
    torch.float64: Tolerance(relative=1e-12, absolute=1e-12),
    torch.float32: Tolerance(relative=2e-5, absolute=1e-5),
    torch.bfloat16: Tolerance(relative=1.6e-2, absolute=4e-3),
    torch.float16: Tolerance(relative=2e-3, absolute=5e-4),
}


def assert_close(actual: Tensor, expected: Tensor, *, offset: float = 0.0) -> None:
    """Compare by element, in the precision of `actual`: shapes must be equal, and integers, but not dtypes.

    Args:
        actual: What the code under test gave; its dtype decides the tolerance.
        expected: What is right, perhaps in a higher precision.
        offset: Size of a value that was subtracted on the way: its last digit is lost, whatever is left.
    """
    if not actual.is_floating_point():
        torch.testing.assert_close(actual, expected, rtol=0, atol=0)
        return
    tolerance = TOLERANCES[actual.dtype]
    torch.testing.assert_close(
        actual.double(),
        expected.double(),
        rtol=tolerance.relative,
        atol=tolerance.absolute + offset * torch.finfo(actual.dtype).eps,
    )
