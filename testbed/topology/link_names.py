"""Links by the names that a user gives them: `isp.pop--isp.pop`, the two ends in either order.

A network and a name come in; the link's id goes out, or the problem with what the user may have meant.
The second of parallel links that the file writes in the same order of their ends has `~2` after its name.
"""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import product

from testbed.errors import Problem
from testbed.spec.loading import listed
from testbed.topology.model import Network

_NEAR = 3  # PoPs of nearly the same name that are tried in place of an unknown one


def find_link(network: Network, name: str, where: str) -> str | Problem:
    """The id of the core link called `name`, or what is wrong with that name at `where`."""
    ids = {link.id for link in network.core_links}
    if name in ids:
        return name
    turned = _turned(name, network)
    return turned if turned in ids else _unknown(network, name, where)


def _turned(name: str, network: Network) -> str:
    """The name with its ends the other way round."""
    a, b, rank = _parts(name, network.pop_by_id)
    return f"{b}--{a}{rank}"


def _parts(name: str, pops: Mapping[str, object]) -> tuple[str, str, str]:
    """First end, second end, `~rank` or "". A PoP's name may have two dashes too: known ends decide."""
    ends, tilde, rank = name.partition("~")
    places = [at for at in range(len(ends)) if ends.startswith("--", at)]
    splits = [(ends[:at], ends[at + 2 :]) for at in places] or [(ends, "")]
    a, b = max(splits, key=lambda split: sum(end in pops for end in split))
    return a, b, tilde + rank


def _unknown(network: Network, name: str, where: str) -> Problem:
    a, b, _ = _parts(name, network.pop_by_id)
    strange = [end for end in (a, b) if end not in network.pop_by_id]
    if "--" not in name:
        what, allowed = f"'{name}' is no name of a link", "isp.pop--isp.pop, the ends in either order"
    elif strange:
        what = f"there is no link '{name}': there is no PoP {' and no PoP '.join(map(repr, strange))}"
        allowed = _links_at({a, b}, network)
    elif links := _between(network, [a], [b]):
        what, allowed = f"there is no link '{name}'", listed(links)
    else:
        what, allowed = f"there is no link '{name}': no link joins the two", _links_at({a, b}, network)
    near = _between(network, _near(a, network), _near(b, network)) if strange else []
    mend = f"did you mean '{near[0]}'?" if near else "`testbed graph FILE --links` lists all links"
    return Problem(what, where, allowed=allowed, mend=mend)


def _near(end: str, network: Network) -> list[str]:
    """The PoP itself, or those that an unknown name may mean, the likeliest first."""
    if end in network.pop_by_id:
        return [end]
    without_isp = [pop.id for pop in network.pops if pop.name == end]
    return without_isp + difflib.get_close_matches(end, network.pop_by_id, n=_NEAR, cutoff=0.75)


def _between(network: Network, some: Sequence[str], others: Sequence[str]) -> list[str]:
    """The links between two groups of PoPs, those between the first of each first."""
    joined: dict[frozenset[str], list[str]] = defaultdict(list)
    for link in network.core_links:
        joined[frozenset((link.a, link.b))].append(link.id)
    pairs = sorted(product(enumerate(some), enumerate(others)), key=lambda pair: pair[0][0] + pair[1][0])
    return [link for (_, a), (_, b) in pairs for link in joined.get(frozenset((a, b)), ())]


def _links_at(pops: set[str], network: Network) -> str:
    """The links of these PoPs; nothing where they have none."""
    return listed([link.id for link in network.core_links if link.a in pops or link.b in pops])
