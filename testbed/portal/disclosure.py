"""What an ISP does to its exact distances before others see them: perturb them, or say only ranks.

In come `PDistances` and the ISP's wishes, out come the `PDistances` that are published.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from testbed.portal.config import DisclosureConfig
from testbed.portal.pricing import PDistances

Matrix = npt.NDArray[np.float64]


def disclose(distances: PDistances, config: DisclosureConfig) -> PDistances:
    """The distances perturbed, then ranked, where `config` says so; NaN stays."""
    matrix = distances.matrix
    if config.perturbation:
        matrix = perturbed(matrix, config.perturbation, config.seed)
    if config.levels is not None:
        matrix = ranked(matrix, config.levels)
    return replace(distances, matrix=matrix)


def perturbed(matrix: Matrix, share: float, seed: int) -> Matrix:
    """Each entry times a factor from 1 - share to 1 + share, uniform.

    A pair has the same factor in every update, so that nobody finds the distance as a mean of many.
    """
    factors = np.random.default_rng(seed).uniform(1 - share, 1 + share, matrix.shape)
    return matrix * factors


def ranked(matrix: Matrix, levels: int) -> Matrix:
    """Levels of the distances between PIDs, from 1, the nearest, to `levels` at most; within a PID 0.

    Each level has about as many different distances, so that a distance which many pairs have takes no level
    away from others; equal distances share a level, and where there are no more than `levels` different ones
    each has its own. A PID is never farther from itself than from another: levels are about where else to go.
    """
    ranks = np.full(matrix.shape, np.nan)
    known = ~np.isnan(matrix)
    ranks[np.diag(np.diag(known))] = 0
    between = known & ~np.eye(len(matrix), dtype=bool)
    different, place = np.unique(matrix[between], return_inverse=True)
    ranks[between] = 1 + place * min(levels, len(different)) // max(len(different), 1)
    return ranks
