"""Small random networks for property tests: any shape that a topology file may describe, and failed links."""

from __future__ import annotations

from hypothesis import strategies as st

from testbed.topology.model import Direction, Isp, Link, Network, Pop, Relationship

_WEIGHTS = st.sampled_from([0.001, 0.1, 0.2, 0.3, 1.0, 1.0, 2.0, 3.0, 7.5])
"""Few values, so that equal paths are common; 0.1 + 0.2 is not 0.3 in binary."""


def pop(isp: str, name: str, number: int) -> Pop:
    subnet = f"10.{number // 256}.{number % 256}"
    return Pop(f"{isp}.{name}", isp, name, f"{subnet}.0/24", f"{subnet}.1", "", number + 1)


def internal(a: str, b: str, forward: float = 1.0, backward: float | None = None, nth: int = 1) -> Link:
    ways = (Direction(10**6, 0.0, weight) for weight in (forward, forward if backward is None else backward))
    return Link(_id(a, b, nth), "internal", a, b, *ways)


def interdomain(a: str, b: str, relationship: Relationship, nth: int = 1) -> Link:
    both = Direction(10**6)
    return Link(_id(a, b, nth), "interdomain", a, b, both, both, relationship)


def _id(a: str, b: str, nth: int) -> str:
    return f"{a}--{b}" + (f"~{nth}" if nth > 1 else "")


@st.composite
def isps(
    draw: st.DrawFn, name: str, first: int, symmetric: bool, most: int = 6
) -> tuple[list[Pop], list[Link]]:
    """The PoPs of one ISP, numbered from `first`, with links that join them all and some more."""
    size = draw(st.integers(1, most))
    pops = [pop(name, f"p{number}", first + number) for number in range(size)]
    pairs = [(draw(st.integers(0, number - 1)), number) for number in range(1, size)]
    if size > 1:
        two = st.lists(st.integers(0, size - 1), min_size=2, max_size=2, unique=True)
        pairs += [tuple(pair) for pair in draw(st.lists(two, max_size=size))]
    links: list[Link] = []
    for a, b in pairs:
        ends = pops[a].id, pops[b].id
        forward = draw(_WEIGHTS)
        backward = forward if symmetric else draw(_WEIGHTS)
        nth = 1 + sum((link.a, link.b) == ends for link in links)
        links.append(internal(*ends, forward, backward, nth))
    return pops, links


@st.composite
def internets(draw: st.DrawFn, symmetric: bool = False, most_isps: int = 6) -> Network:
    """Up to six ISPs; an ISP buys only from ISPs of lower number, so that nobody pays itself in a circle."""
    names = [f"isp{number}" for number in range(draw(st.integers(1, most_isps)))]
    asns = draw(st.permutations(range(100, 100 + len(names))))
    parts = []
    for name in names:
        parts.append(draw(isps(name, sum(len(pops) for pops, _ in parts), symmetric, 4)))
    between: list[Link] = []
    for high in range(len(names)):
        for low in range(high):
            kind = draw(st.sampled_from(["none", "customer-provider", "customer-provider", "peer-peer"]))
            if kind == "none":
                continue
            for nth in range(1, draw(st.integers(1, 2)) + 1):
                a, b = (draw(st.sampled_from(parts[isp][0])).id for isp in (high, low))
                same = sum((link.a, link.b) == (a, b) for link in between)
                assert same < nth
                between.append(interdomain(a, b, kind, same + 1))
    return Network(
        "random",
        tuple(Isp(name, asn, "") for name, asn in zip(names, asns, strict=True)),
        tuple(pop for pops, _ in parts for pop in pops),
        (*(link for _, links in parts for link in links), *between),
    )


@st.composite
def failures(draw: st.DrawFn, network: Network) -> frozenset[str]:
    """Some links of the network that are down."""
    ids = [link.id for link in network.core_links]
    return frozenset(draw(st.lists(st.sampled_from(ids), max_size=4))) if ids else frozenset()
