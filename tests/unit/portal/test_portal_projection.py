"""The projection on the scaled simplex has the laws of a projection; clip-normalise is the authors' way."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.portal.projection import clip_normalise, project_on_simplex

VECTORS = st.integers(1, 8).flatmap(
    lambda size: st.tuples(
        st.lists(st.floats(-50, 50), min_size=size, max_size=size).map(np.array),
        st.lists(st.floats(0.05, 20), min_size=size, max_size=size).map(np.array),
        st.integers(0, 2**32 - 1),
    )
)


def feasible(scale: np.ndarray, seed: int) -> np.ndarray:
    """A random point of the scaled simplex."""
    return np.random.default_rng(seed).dirichlet(np.full(len(scale), 0.5)) / scale


@given(VECTORS)
@settings(deadline=None)
def test_it_ends_on_the_scaled_simplex(drawn: tuple[np.ndarray, np.ndarray, int]) -> None:
    point, scale, _ = drawn
    projected = project_on_simplex(point, scale)
    assert (projected >= 0).all()
    assert np.isclose(projected @ scale, 1)


@given(VECTORS)
@settings(deadline=None)
def test_no_point_of_the_simplex_is_nearer(drawn: tuple[np.ndarray, np.ndarray, int]) -> None:
    point, scale, seed = drawn
    distance = np.linalg.norm(project_on_simplex(point, scale) - point)
    for number in range(10):
        assert distance <= np.linalg.norm(feasible(scale, seed + number) - point) + 1e-9
    for corner in np.diag(1 / scale):
        assert distance <= np.linalg.norm(corner - point) + 1e-9


@given(VECTORS)
@settings(deadline=None)
def test_a_point_of_the_simplex_stays(drawn: tuple[np.ndarray, np.ndarray, int]) -> None:
    _, scale, seed = drawn
    point = feasible(scale, seed)
    np.testing.assert_allclose(project_on_simplex(point, scale), point, atol=1e-9)


@given(VECTORS, st.floats(-100, 100))
@settings(deadline=None)
def test_a_shift_along_the_capacities_changes_nothing(
    drawn: tuple[np.ndarray, np.ndarray, int], shift: float
) -> None:
    """Which is why alpha in xi = b + t - alpha c moves no price."""
    point, scale, _ = drawn
    np.testing.assert_allclose(
        project_on_simplex(point + shift * scale, scale), project_on_simplex(point, scale), atol=1e-8
    )


@given(VECTORS)
@settings(deadline=None)
def test_two_points_do_not_move_apart(drawn: tuple[np.ndarray, np.ndarray, int]) -> None:
    point, scale, seed = drawn
    other = point + np.random.default_rng(seed).normal(size=len(point))
    apart = project_on_simplex(point, scale) - project_on_simplex(other, scale)
    assert np.linalg.norm(apart) <= np.linalg.norm(point - other) + 1e-9


def test_clip_normalise_reproduces_the_ring_of_the_authors() -> None:
    """Capacity 4 but for 0 -> 1, which has 2; traffic 1.2 on it; q = 0 at the start, mu = 1."""
    utilisation = np.array([1.2 / 2, *[0.0] * 7])
    once = clip_normalise(np.zeros(8), utilisation, 1.0)
    assert once.tolist() == [0.125] * 8
    assert clip_normalise(once, utilisation, 1.0).tolist() == [1, *[0] * 7]


def test_clip_normalise_is_no_projection() -> None:
    """It scales what is left where the projection takes the same from all."""
    share, utilisation = np.array([0.5, 0.3, 0.2]), np.array([1.0, 0.5, 0.7])
    clipped = clip_normalise(share, utilisation, 0.2)
    projected = project_on_simplex(share + 0.2 * (utilisation - 1.0), np.ones(3))
    np.testing.assert_allclose(clipped, np.array([0.5, 0.2, 0.14]) / 0.84)
    np.testing.assert_allclose(projected, np.array([0.5, 0.2, 0.14]) + 0.16 / 3)
