"""What a user wants of a picture: how wide, with names or not, which links failed, which route to show."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Route:
    """A route to highlight: two PoP ids and the ids of the links from the first to the second."""

    source: str
    destination: str
    links: tuple[str, ...]


@dataclass(frozen=True)
class Wish:
    """What a user wants of the picture. Without `width_in` (inches) it is as large as the network needs."""

    width_in: float | None = None
    labels: bool = True
    failed: frozenset[str] = frozenset()
    route: Route | None = None
