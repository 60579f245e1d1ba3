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
    """Levels from 1, the nearest, to `levels` at most, each of about as many pairs; equal ones share a level.

    The level of an entry is 1 + floor(levels * the share of entries that are less).
    """
    ranks = np.full(matrix.shape, np.nan)
    known = ~np.isnan(matrix)
    values = matrix[known]
    less = np.searchsorted(np.sort(values), values, side="left")
    ranks[known] = 1 + levels * less // max(len(values), 1)
    return ranks
