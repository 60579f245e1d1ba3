"""The two ways from a step of prices back to prices that sum to one: in comes a vector, out comes one.

Prices p of links with capacities c live on the scaled simplex: p >= 0 and sum of c p = 1 (Xie et al., "P4P:
Provider Portal for Applications", SIGCOMM 2008, the dual of the least maximum utilisation).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]

_NOTHING_LEFT = 1e-12
"""A sum that counts as none: there clip-normalise begins anew, as in the P4P authors' code."""


def project_on_simplex(point: Vector, scale: Vector, total: float = 1.0) -> Vector:
    """The nearest p to `point` (E,) with p >= 0 and sum of scale * p = total; `scale` (E,) is positive.

    By the conditions of Karush, Kuhn and Tucker p = max(0, point - m * scale) for one number m: that of the
    longest run of components, by falling point / scale, that stay positive (Duchi et al., "Efficient
    Projections onto the l1-Ball", ICML 2008, figure 1, here with weights).
    """
    if total <= _NOTHING_LEFT:
        return np.zeros(len(point))
    order = np.argsort(-point / scale, kind="stable")
    weighted, squares = (point * scale)[order], np.square(scale)[order]
    multipliers = (np.cumsum(weighted) - total) / np.cumsum(squares)
    positive = np.flatnonzero((point / scale)[order] > multipliers)
    multiplier = multipliers[positive[-1] if positive.size else 0]
    projected: Vector = np.maximum(0.0, point - multiplier * scale)
    # A large point leaves rounding errors of its own size; the sum is right whatever they are.
    projected *= total / (projected @ scale)
    return projected


def clip_normalise(share: Vector, utilisation: Vector, step: float, total: float = 1.0) -> Vector:
    """One update of the P4P authors' code, of q = p c (E,), which is 0 at the start; afterwards it sums to
    `total`, 1 with them.

    What has become negative is set to 0, and the rest divided by its sum; where nothing is left all links are
    priced alike. It is no projection: it moves the prices further, and has no proof of convergence.
    """
    moved = np.maximum(0.0, share + step * (utilisation - utilisation.max()))
    left = moved.sum()
    if left <= _NOTHING_LEFT:
        return np.full(len(share), total / len(share))
    normalised: Vector = moved * (total / left)
    return normalised
