"""Which PoPs are linked: rings, stars, Waxman and Barabasi-Albert graphs, connected always. Pure.

Points or their number come in, a sorted list of pairs of their indices goes out: undirected, each pair once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations
from math import atan2, log
from random import Random

from testbed.errors import Problem, UserError
from testbed.topology.generators.places import Point, distance_km
from testbed.topology.writing import counted

Pair = tuple[int, int]


def ring(points: Sequence[Point]) -> list[Pair]:
    """Each point linked to the next around the middle of them all, so that the ring does not cross itself.

    Raises UserError on fewer than three points.
    """
    if len(points) < 3:
        what = f"{counted(len(points), 'PoP')} can't be a ring"
        raise UserError(Problem(what, "--pops", allowed="3 and more"))
    middle = [sum(point[axis] for point in points) / len(points) for axis in (0, 1)]

    def angle(index: int) -> tuple[float, int]:
        latitude, longitude = points[index]
        return round(atan2(latitude - middle[0], longitude - middle[1]), 9), index

    order = sorted(range(len(points)), key=angle)
    return _sorted_pairs(zip(order, order[1:] + order[:1], strict=True))


def star(points: Sequence[Point]) -> list[Pair]:
    """All points linked to the one that is nearest to all others together."""

    def total_km(index: int) -> tuple[float, int]:
        return round(sum(distance_km(points[index], point) for point in points), 3), index

    hub = min(range(len(points)), key=total_km)
    return _sorted_pairs((hub, other) for other in range(len(points)) if other != hub)


def waxman(
    points: Sequence[Point], rng: Random, *, alpha: float, beta: float = 1.0, links: int | None = None
) -> list[Pair]:
    """Near points linked rather than far ones: Waxman 1988, "Routing of multipoint connections".

    A pair is linked with probability beta * exp(-d / (alpha * L)), d its distance and L the largest one;
    parts that this leaves apart are joined by the pairs that were nearest to being linked. With `links` (at
    least the number of points less one) beta is whatever gives that number. Raises UserError on options
    outside of their limits.
    """
    _check_links(len(points), links)
    _check_share("--alpha", alpha)
    _check_share("--beta", beta)
    farthest = max((distance_km(*ends) for ends in combinations(points, 2)), default=0.0) or 1.0
    # A pair is linked where a uniform u < beta * exp(-x), that is where ln u + x < ln beta.
    ranked = sorted(
        (round(log(1 - rng.random()) + distance_km(points[a], points[b]) / (alpha * farthest), 9), a, b)
        for a, b in combinations(range(len(points)), 2)
    )
    pairs = [(a, b) for _, a, b in ranked]
    if links is None:
        chosen = [(a, b) for rank, a, b in ranked if rank < log(beta)]
        return _sorted_pairs([*chosen, *_joining(len(points), pairs, chosen)])
    tree = set(_joining(len(points), pairs))
    rest = [pair for pair in pairs if pair not in tree]
    return _sorted_pairs([*tree, *rest[: links - len(tree)]])


def barabasi_albert(count: int, rng: Random, *, attach: int = 1, links: int | None = None) -> list[Pair]:
    """Newcomers linked to the well-linked: Barabasi and Albert 1999, "Emergence of scaling".

    Point k links to `attach` earlier ones (to all, where these are fewer), each chosen with a probability in
    proportion to its links. With `links` (at least the number of points less one) `attach` is the largest
    that does not exceed it, and the rest goes between pairs in proportion to the product of their links.
    Raises UserError on options outside of their limits.
    """
    _check_links(count, links)
    most = most_attached(count)
    if not 1 <= attach <= most:
        allowed = f"1 to {most}" if most > 1 else f"1, with {counted(count, 'PoP')}"
        raise UserError(Problem(f"{attach} is out of range", "--attach", allowed))
    if links:
        attach = max(m for m in range(1, count) if links_of_attach(count, m) <= links)
    pairs: list[Pair] = []
    tickets = [0]  # each point as often as it has links; the first once more, so that there is a start
    for newcomer in range(1, count):
        chosen: set[int] = set()
        while len(chosen) < min(newcomer, attach):
            chosen.add(rng.choice(tickets))
        for other in sorted(chosen):
            pairs.append((other, newcomer))
            tickets += [other, newcomer]
    if links is not None:
        degree = Counter(end for pair in pairs for end in pair)
        missing = sorted(set(combinations(range(count), 2)) - set(pairs))
        # Draws without replacement by weight: the smallest of exponential variates with these rates.
        missing.sort(key=lambda pair: rng.expovariate(degree[pair[0]] * degree[pair[1]]))
        pairs += missing[: links - len(pairs)]
    return _sorted_pairs(pairs)


def most_attached(count: int) -> int:
    """How many links a newcomer can bring at most, where there are `count` points in the end."""
    return max(1, count - 1)


def links_of_attach(count: int, attach: int) -> int:
    """The number of links that `attach` gives `count` points."""
    return sum(min(newcomer, attach) for newcomer in range(1, count))


def _check_links(count: int, links: int | None) -> None:
    least, most = count - 1, count * (count - 1) // 2
    if links is None or least <= links <= most:
        return
    pops = counted(count, "PoP")
    what = (
        f"{counted(links, 'link')} can't connect {pops}"
        if links < least
        else f"{links} would be more than one a pair"
    )
    allowed = f"{least} to {counted(most, 'link')}" if least < most else counted(least, "link")
    raise UserError(Problem(what, "--links", allowed=f"{allowed} between {pops}"))


def _check_share(option: str, value: float) -> None:
    if not 0 < value <= 1:
        raise UserError(Problem(f"{value} is out of range", option, allowed="more than 0, at most 1"))


def _joining(count: int, candidates: Iterable[Pair], given: Iterable[Pair] = ()) -> Iterator[Pair]:
    """The candidates, in their order, that join parts left apart by `given` and those before (Kruskal)."""
    above = list(range(count))

    def part(index: int) -> int:
        while above[index] != index:
            above[index] = above[above[index]]
            index = above[index]
        return index

    for a, b in given:
        above[part(a)] = part(b)
    for a, b in candidates:
        if part(a) != part(b):
            above[part(a)] = part(b)
            yield a, b


def _sorted_pairs(pairs: Iterable[Pair]) -> list[Pair]:
    return sorted((min(pair), max(pair)) for pair in pairs)
