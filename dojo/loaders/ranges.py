"""Ranges of joints and tendons, which stop where their margin begins."""

from collections.abc import Sequence

import numpy as np

from dojo.model.errors import ModelError


def within_margins(
    ranges: np.ndarray, margins: np.ndarray, names: Sequence[str], source: str
) -> np.ndarray:
    """What margins (n,) leave of ranges (n, 2); names as in "joint knee".

    Raises:
        ModelError: nothing.
    """
    left = ranges + margins[:, None] * np.array([1.0, -1.0])
    for name, whole, margin, (low, high) in zip(names, ranges, margins, left, strict=True):
        if low > high:
            raise ModelError(
                f"{source}: {name}: its margin {margin:g} leaves nothing of its range {whole}. "
                "Make the margin smaller."
            )
    return left
