"""The rules of a switch for people: what a packet has to be, and what is done with it. Pure.

The API's JSON of a switch's program comes in; text with the names of links, hosts and tables goes out. That
every hop decrements the TTL and writes MAC addresses is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from testbed.topology.model import Network

Json = Mapping[str, Any]

_ETHERNET = {0x0800: "IP", 0x0806: "ARP"}
_WHILE_DOWN = ", else by "
_PROTOCOLS = {1: "ICMP", 6: "TCP", 17: "UDP"}
# How a field is said; what is not here is shown as it is.
_MATCHES = {
    "arp_tpa": "for {}",
    "ipv4_src": "from {}",
    "ipv4_dst": "to {}",
    "tcp_src": "from port {}",
    "udp_src": "from port {}",
    "tcp_dst": "to port {}",
    "udp_dst": "to port {}",
    "eth_dst": "with label {}",
    "nw_ttl": "with TTL {}",
    "arp_op": "of operation {}",
    "icmpv4_type": "of type {}",
}
_MEANINGS = {("arp_op", 1): "request", ("icmpv4_type", 8): "echo request"}


def rules_table(answer: Json, pop: str, network: Network) -> Table:
    """A row for each rule, in the order in which they are tried; with packets where the API counts them."""
    from testbed.cli.tables import table
    from testbed.cli.values import known

    ordered = sorted(answer["rules"], key=lambda rule: (rule["table"], -rule["priority"]))
    counted = any("packets" in rule for rule in ordered)
    rows = table(["table", "packets", "what becomes of them"], ["counted"] if counted else [])
    for column in rows.columns[:2]:
        column.no_wrap = True
    for rule in ordered:
        number = [known(rule.get("packets"), "{:,}".format)] if counted else []
        rows.add_row(_table(rule["table"]), matched(rule["match"]), done(rule, answer, pop, network), *number)
    return rows


def matched(match: Json) -> str:
    """`IP from 10.1.0.0/16 to 10.2.1.0/24`; without a field, anything that no rule before it took."""
    words, kind = [], ""
    for field, value in match.items():
        if field in ("eth_type", "eth_type_nxm"):
            kind = kind or _ETHERNET.get(value, f"type {value:#06x}")
        elif field == "ip_proto":
            kind = _PROTOCOLS.get(value, f"protocol {value}")
        else:
            text = str(value).removesuffix("/32")
            words.append(_MEANINGS.get((field, value)) or _MATCHES.get(field, f"{field} {{}}").format(text))
    return " ".join([kind, *words] if kind else words) or "all else"


def done(rule: Json, answer: Json, pop: str, network: Network) -> str:
    """What becomes of a packet that a rule takes."""
    return ", ".join(_steps(rule, answer, pop, network)) or "dropped"


def _steps(rule: Json, answer: Json, pop: str, network: Network) -> Iterator[str]:
    from testbed.controller.openflow import IN_PORT

    meters = {meter["meter"]: meter for meter in answer["meters"]}
    groups = {group["group"]: group for group in answer["groups"]}
    if "meter" in rule:
        yield _limit(meters.get(rule["meter"], {}))
    if any(action["do"] == "Move" for action in rule["actions"]):
        yield "made its answer"
    for action in rule["actions"]:
        if action["do"] == "Output":
            back = action["port"] == IN_PORT
            yield "sent back" if back else f"to {_port(action['port'], answer, pop, network)}"
        elif action["do"] == "ToController":
            yield "to the controller"
        elif action["do"] == "ToGroup":
            yield "to " + _WHILE_DOWN.join(
                _port(bucket["watch"], answer, pop, network) for bucket in groups[action["group"]]["buckets"]
            )
    if "then" in rule:
        yield f"on to {_table(rule['then'])}"


def _table(number: int) -> str:
    from testbed.controller.rules import TABLES

    return TABLES[number] if number < len(TABLES) else str(number)


def _limit(meter: Json) -> str:
    from testbed.topology.writing import rate_text

    if "rate_kbit_per_s" in meter:
        return f"at most {rate_text(meter['rate_kbit_per_s'] * 1000)}"
    return f"at most {meter['rate_packets_per_s']} packets/s" if "rate_packets_per_s" in meter else "metered"


def _port(number: int, answer: Json, pop: str, network: Network) -> str:
    """The PoP or the host behind a port."""
    link = next((link for link, port in answer["ports"].items() if port == number), None)
    if link is None:
        return f"port {number}"
    _, tilde, rank = link.partition("~")  # of parallel links
    return network.link_by_id[link].other(pop) + (f" {tilde}{rank}" if tilde else "")
