"""Golden errors: one wrong thing in a topology file that uses every key, and its whole message."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.errors import UserError
from testbed.spec.topology import load_topology

TOPOLOGY = """\
name: small
isps:
  carrier:
    asn: 10
    prefix: 10.10.0.0/16
    pops:
      hub: {at: [50.0, 8.0]}
      edge: {at: [48.0, 2.0], prefix: 10.10.8.0/24}
    links:
      - {between: [hub, edge], capacity: 50 Mbit/s, weight: 3}
  left:
    asn: 20
    pops:
      one: {at: [51.0, 0.0]}
      two: {at: [53.0, -2.0]}
    links:
      - {between: [one, two], capacity: [20 Mbit/s, 10 Mbit/s], background: 2 Mbit/s}
    pids: {north: [two], south: [one]}
  far: {asn: 40, pops: {away: {}}}
  right:
    asn: 30
    pops:
      only: {metro: town}
interdomain:
  - between: [left.one, carrier.hub]
    relationship: customer-provider
    capacity: 5 Mbit/s
    tariff: {kind: percentile-95, price: 2}
  - between: [right.only, carrier.edge]
    relationship: customer-provider
    capacity: 5 Mbit/s
    delay: 4 ms
ixps:
  market:
    at: [50.0, 4.0]
    members: {left.two: 1 Gbit/s, right.only: 1 Gbit/s}
access:
  line: {down: 8 Mbit/s, up: 1 Mbit/s, delay: 2 ms}
"""

# What is wrong: the text of the file, what stands there instead, the message.
WRONG: dict[str, tuple[str, str, str]] = {
    "a key in no model": (
        "weight: 3",
        "wieght: 3",
        "small.yaml:10: unknown key 'wieght'\n"
        "  allowed: between, capacity, delay, weight, background, loss, queue\n"
        "  to mend it: did you mean 'weight'?",
    ),
    "an unknown section": (
        "ixps:",
        "ixp:",
        "small.yaml:33: unknown key 'ixp'\n"
        "  allowed: name, description, include, isps, interdomain, ixps, access\n"
        "  to mend it: did you mean 'ixps'?",
    ),
    "a rate without a unit": (
        "capacity: 50 Mbit/s",
        "capacity: 50",
        "small.yaml:10: isps.carrier.links.0.capacity: 50 has no unit\n"
        "  allowed: a number and one of bit/s, kbit/s, Mbit/s, Gbit/s, such as 10 Mbit/s",
    ),
    "a rate with a unit of its own": (
        "capacity: 50 Mbit/s",
        "capacity: 50 Mbps",
        "small.yaml:10: isps.carrier.links.0.capacity: '50 Mbps' has an unknown unit; "
        "did you mean '50 Mbit/s'?\n"
        "  allowed: a number and one of bit/s, kbit/s, Mbit/s, Gbit/s, such as 10 Mbit/s",
    ),
    "a rate that is a list": (
        "down: 8 Mbit/s",
        "down: [8 Mbit/s, 1 Mbit/s]",
        "small.yaml:38: access.line.down: a list is not a quantity\n"
        "  allowed: a number and one of bit/s, kbit/s, Mbit/s, Gbit/s, such as 10 Mbit/s",
    ),
    "a rate of a port": (
        "left.two: 1 Gbit/s",
        "left.two: 1 bit/s",
        "small.yaml:36: ixps.market.members.left.two: 1 bit/s is too slow for a link\n"
        "  allowed: at least 1 kbit/s",
    ),
    "a rate too large for any machine": (
        "capacity: 50 Mbit/s",
        "capacity: 1e30 Gbit/s",
        "small.yaml:10: isps.carrier.links.0.capacity: '1e30 Gbit/s' is too large\n"
        "  allowed: less than 1e+18 bit/s",
    ),
    "three values for two directions": (
        "[20 Mbit/s, 10 Mbit/s]",
        "[20 Mbit/s, 10 Mbit/s, 5 Mbit/s]",
        "small.yaml:17: isps.left.links.0.capacity: has 3 entries\n  allowed: exactly 2",
    ),
    "one value in a list of two": (
        "[20 Mbit/s, 10 Mbit/s]",
        "[20 Mbit/s]",
        "small.yaml:17: isps.left.links.0.capacity: has 1 entry\n  allowed: exactly 2",
    ),
    "a delay without a unit": (
        "delay: 4 ms",
        "delay: 4",
        "small.yaml:32: interdomain.1.delay: 4 has no unit\n"
        "  allowed: a number and one of ns, us, ms, s, min, h, d, such as 20 ms",
    ),
    "a weight that is text": (
        "weight: 3",
        "weight: heavy",
        "small.yaml:10: isps.carrier.links.0.weight: 'heavy' is not a number\n  allowed: such as 1 or 2.5",
    ),
    "a weight of nothing": (
        "weight: 3",
        "weight: 0",
        "small.yaml:10: isps.carrier.links.0.weight: 0 is too small\n  allowed: at least 0.001",
    ),
    "a weight too fine": (
        "weight: 3",
        "weight: 3.1415",
        "small.yaml:10: isps.carrier.links.0.weight: 3.1415 has more than three decimals\n"
        "  allowed: such as 1 or 2.125",
    ),
    "a missing asn": (
        "    asn: 20\n",
        "",
        "small.yaml:11: 'asn' is missing",
    ),
    "an asn that is text": (
        "asn: 20",
        "asn: AS20",
        "small.yaml:12: isps.left.asn: 'AS20' is not a whole number\n  allowed: such as 1 or 200",
    ),
    "an asn too large": (
        "asn: 20",
        "asn: 4294967296",
        "small.yaml:12: isps.left.asn: 4294967296 is too large\n  allowed: at most 4294967295",
    ),
    "an asn of two ISPs": (
        "asn: 30",
        "asn: 20",
        "small.yaml:21: asn 20 is that of left too\n"
        "  allowed: a number for each ISP\n"
        "  to mend it: give one of them another asn (`testbed import --asn`)",
    ),
    "a name with capital letters": (
        "  right:\n",
        "  Right:\n",
        "small.yaml:20: 'Right' is not a name\n"
        "  allowed: lower case letters, digits and dashes, at most 24, starting with a letter",
    ),
    "a PoP's name with an underscore": (
        "      two: {at",
        "      t_wo: {at",
        "small.yaml:15: 't_wo' is not a name\n"
        "  allowed: lower case letters, digits and dashes, at most 24, starting with a letter",
    ),
    "a PoP that is no mapping": (
        "only: {metro: town}",
        "only: town",
        "small.yaml:23: isps.right.pops.only: 'town' is not a mapping\n  allowed: the keys at, metro, prefix",
    ),
    "an ISP with nothing in it": (
        "  far: {asn: 40, pops: {away: {}}}",
        "  far:",
        "small.yaml:19: isps.far: has no value\n  allowed: the keys asn, prefix, pops, links, pids, portal",
    ),
    "access profiles as a list": (
        "access:\n  line: {down: 8 Mbit/s, up: 1 Mbit/s, delay: 2 ms}",
        "access: [line]",
        "small.yaml:37: access: a list is not a mapping\n  allowed: keys and their values: {key: value}",
    ),
    "an access line of nothing": (
        "line: {down: 8 Mbit/s, up: 1 Mbit/s, delay: 2 ms}",
        "line:",
        "small.yaml:38: access.line: has no value\n"
        "  allowed: dsl-2008, cable-2008, fibre-2008, adsl2plus, vdsl2, docsis3, docsis31, gpon, lte, 5g, "
        "or {down, up, delay, loss, queue}",
    ),
    "an access line that is a list": (
        "line: {down: 8 Mbit/s, up: 1 Mbit/s, delay: 2 ms}",
        "line: [8 Mbit/s, 1 Mbit/s]",
        "small.yaml:38: access.line: a list is no access line\n"
        "  allowed: dsl-2008, cable-2008, fibre-2008, adsl2plus, vdsl2, docsis3, docsis31, gpon, lte, 5g, "
        "or {down, up, delay, loss, queue}",
    ),
    "an ISP without PoPs": (
        "      only: {metro: town}\n",
        "      {}\n",
        "small.yaml:22: isps.right.pops: has 0 entries\n  allowed: at least 1",
    ),
    "a latitude beyond the pole": (
        "at: [50.0, 8.0]",
        "at: [150.0, 8.0]",
        "small.yaml:7: isps.carrier.pops.hub.at.0: 150.0 is too large\n  allowed: at most 90",
    ),
    "a latitude that is no number": (
        "at: [50.0, 8.0]",
        "at: [.nan, 8.0]",
        "small.yaml:7: isps.carrier.pops.hub.at.0: nan is not a number\n  allowed: such as 1 or 2.5",
    ),
    "a place of one number": (
        "at: [50.0, 8.0]",
        "at: [50.0]",
        "small.yaml:7: isps.carrier.pops.hub.at: has 1 entry\n  allowed: exactly 2",
    ),
    "a place in words": (
        "at: [50.0, 8.0]",
        "at: Frankfurt",
        "small.yaml:7: isps.carrier.pops.hub.at: 'Frankfurt' is not a list\n"
        "  allowed: values in brackets: [a, b]",
    ),
    "a link from a PoP to itself": (
        "between: [one, two]",
        "between: [one, one]",
        "small.yaml:17: a link from one to itself\n"
        "  allowed: two different PoPs\n"
        "small.yaml:11: ISP left falls apart: no internal links between one and two\n"
        "  to mend it: add links between these PoPs under 'links', or make ISPs of the parts",
    ),
    "a link to a PoP that is not there": (
        "between: [one, two]",
        "between: [one, twoo]",
        "small.yaml:17: ISP left has no PoP 'twoo'\n  allowed: one, two\n  to mend it: did you mean 'two'?",
    ),
    "a link with one end": (
        "between: [one, two]",
        "between: [one]",
        "small.yaml:17: isps.left.links.0.between: has 1 entry\n  allowed: exactly 2",
    ),
    "background load that fills the link": (
        "background: 2 Mbit/s",
        "background: [2 Mbit/s, 10 Mbit/s]",
        "small.yaml:17: the background load leaves nothing of the link between one and two\n"
        "  allowed: at least 1 kbit/s less than 'capacity', in each direction",
    ),
    "a loss without a percent sign": (
        "capacity: 50 Mbit/s",
        "capacity: 50 Mbit/s, loss: 0.5",
        "small.yaml:10: isps.carrier.links.0.loss: 0.5 has no unit\n  allowed: a number and %, such as 0.5 %",
    ),
    "a loss in words": (
        "capacity: 50 Mbit/s",
        "capacity: 50 Mbit/s, loss: 5 percent",
        "small.yaml:10: isps.carrier.links.0.loss: '5 percent' has an unknown unit; did you mean '5 %'?\n"
        "  allowed: a number and %, such as 0.5 %",
    ),
    "a loss of everything": (
        "delay: 4 ms",
        "delay: 4 ms\n    loss: [0 %, 100 %]",
        "small.yaml:33: interdomain.1.loss.1: '100 %' is too large\n  allowed: less than 100 %",
    ),
    "a loss below nothing": (
        "delay: 2 ms",
        "delay: 2 ms, loss: -1 %",
        "small.yaml:38: access.line.loss: '-1 %' is negative\n  allowed: a number and %, such as 0.5 %",
    ),
    "a delay of hours": (
        "delay: 2 ms",
        "delay: 5 h",
        "small.yaml:38: access.line.delay: '5 h' is too large\n  allowed: less than 60 s",
    ),
    "one loss in a list of two": (
        "delay: 2 ms",
        "delay: 2 ms, loss: [1 %]",
        "small.yaml:38: access.line.loss: has 1 entry\n  allowed: exactly 2",
    ),
    "a queue without a unit": (
        "capacity: 50 Mbit/s",
        "capacity: 50 Mbit/s, queue: 50",
        "small.yaml:10: isps.carrier.links.0.queue: 50 has no unit\n"
        "  allowed: a number and one of packet, packets, B, kB, MB, GB, KiB, MiB, GiB, ns, us, ms, s, min, "
        "h, d, such as 50 packets",
    ),
    "a queue with a unit of its own": (
        "delay: 2 ms",
        "delay: 2 ms, queue: 50 pkts",
        "small.yaml:38: access.line.queue: '50 pkts' has an unknown unit; did you mean '50 packets'?\n"
        "  allowed: a number and one of packet, packets, B, kB, MB, GB, KiB, MiB, GiB, ns, us, ms, s, min, "
        "h, d, such as 50 packets",
    ),
    "a queue of a rate": (
        "capacity: 50 Mbit/s",
        "capacity: 50 Mbit/s, queue: 5 Mbit/s",
        "small.yaml:10: isps.carrier.links.0.queue: '5 Mbit/s' has an unknown unit\n"
        "  allowed: a number and one of packet, packets, B, kB, MB, GB, KiB, MiB, GiB, ns, us, ms, s, min, "
        "h, d, such as 50 packets",
    ),
    "a queue of no packets": (
        "delay: 4 ms",
        "delay: 4 ms\n    queue: 0 packets",
        "small.yaml:33: interdomain.1.queue: 0 packets are no queue\n"
        "  allowed: a whole number of packets from 1 to 2147483647",
    ),
    "a queue of half a packet": (
        "delay: 4 ms",
        "delay: 4 ms\n    queue: 2.5 packets",
        "small.yaml:33: interdomain.1.queue: 2.5 packets are no queue\n"
        "  allowed: a whole number of packets from 1 to 2147483647",
    ),
    "a queue of less than a frame": (
        "delay: 4 ms",
        "delay: 4 ms\n    queue: 1513 B",
        "small.yaml:33: the queue of the link between right.only and carrier.edge is 1513 bytes\n"
        "  allowed: from 1514, a full frame, to 2147483647 bytes, in each direction",
    ),
    "a queue too short at what the background load leaves": (
        "background: 2 Mbit/s",
        "background: [0 bit/s, 9 Mbit/s], queue:\n        [10 ms,\n        12 ms]",
        "small.yaml:19: the queue of the link between one and two is 1500 bytes at 1 Mbit/s\n"
        "  allowed: from 1514, a full frame, to 2147483647 bytes, in each direction",
    ),
    "a queue too short for the slower direction of an access line": (
        "delay: 2 ms",
        "delay: 2 ms, queue: 5 ms",
        "small.yaml:38: the queue of access profile line is 625 bytes at 1 Mbit/s\n"
        "  allowed: from 1514, a full frame, to 2147483647 bytes, in each direction",
    ),
    "a queue too short both ways": (
        "capacity: 50 Mbit/s",
        "capacity: 50 Mbit/s, queue: 0 s",
        "small.yaml:10: the queue of the link between hub and edge is 0 bytes at 50 Mbit/s\n"
        "  allowed: from 1514, a full frame, to 2147483647 bytes, in each direction",
    ),
    "a queue longer than any": (
        "capacity: 50 Mbit/s",
        "capacity: 50 Mbit/s, queue: [20 ms, 1 h]",
        "small.yaml:10: the queue of the link between hub and edge is 22500000000 bytes at 50 Mbit/s\n"
        "  allowed: from 1514, a full frame, to 2147483647 bytes, in each direction",
    ),
    "a PID rule that does not exist": (
        "pids: {north: [two], south: [one]}",
        "pids: city",
        "small.yaml:18: isps.left.pids: 'city' is not known\n  allowed: 'pop', 'metro' or 'isp'",
    ),
    "a PID with an unknown PoP": (
        "south: [one]",
        "south: [on]",
        "small.yaml:18: ISP left has no PoP 'on'\n  allowed: one, two\n  to mend it: did you mean 'one'?",
    ),
    "a PoP in two PIDs": (
        "south: [one]",
        "south: [one, two]",
        "small.yaml:18: PoP two is in PID north already\n  allowed: every PoP in one PID",
    ),
    "a PoP in no PID": (
        ", south: [one]",
        "",
        "small.yaml:18: no PID of ISP left has one\n  allowed: every PoP in one PID",
    ),
    "a PID without PoPs": (
        "south: [one]",
        "south: [one], west: []",
        "small.yaml:18: PID west of ISP left has no PoPs\n  to mend it: name some, or leave it out",
    ),
    "a prefix that is none": (
        "prefix: 10.10.0.0/16",
        "prefix: 10.10.0.0",
        "small.yaml:5: isps.carrier.prefix: '10.10.0.0' is not a prefix\n"
        "  allowed: an IPv4 network such as 10.1.0.0/16",
    ),
    "a prefix with bits of a host": (
        "prefix: 10.10.0.0/16",
        "prefix: 10.10.3.0/16",
        "small.yaml:5: isps.carrier.prefix: 10.10.3.0/16 is an address inside a network\n"
        "  allowed: the network itself, 10.10.0.0/16",
    ),
    "a prefix of version 6": (
        "prefix: 10.10.0.0/16",
        "prefix: 2001:db8::/32",
        "small.yaml:5: isps.carrier.prefix: '2001:db8::/32' is not a prefix\n"
        "  allowed: an IPv4 network such as 10.1.0.0/16",
    ),
    "a prefix where no host can be": (
        "prefix: 10.10.0.0/16",
        "prefix: 224.0.0.0/8",
        "small.yaml:5: isps.carrier.prefix: 224.0.0.0/8 holds the multicast and reserved addresses, "
        "where no host can be\n"
        "  allowed: an IPv4 network such as 10.1.0.0/16",
    ),
    "an ISP's prefix too small": (
        "asn: 30",
        "asn: 30\n    prefix: 10.11.0.0/24",
        "small.yaml:22: prefix 10.11.0.0/24 is too small for an ISP\n  allowed: /22 or larger",
    ),
    "a prefix inside another ISP's": (
        "asn: 30",
        "asn: 30\n    prefix: 10.10.4.0/22",
        "small.yaml:22: prefix 10.10.4.0/22 overlaps 10.10.0.0/16 of carrier",
    ),
    "a PoP's prefix outside its ISP's": (
        "prefix: 10.10.8.0/24",
        "prefix: 10.11.8.0/24",
        "small.yaml:8: prefix 10.11.8.0/24 of PoP edge is not inside that of ISP carrier\n"
        "  allowed: a part of 10.10.0.0/16",
    ),
    "a PoP's prefix without its ISP's": (
        "{metro: town}",
        "{metro: town, prefix: 10.30.0.0/24}",
        "small.yaml:23: PoP only has a prefix and its ISP right has none\n"
        "  to mend it: give ISP right a 'prefix' that holds 10.30.0.0/24",
    ),
    "PoPs' prefixes that overlap": (
        "hub: {at: [50.0, 8.0]}",
        "hub: {at: [50.0, 8.0], prefix: 10.10.8.128/25}",
        "small.yaml:8: prefix 10.10.8.0/24 overlaps 10.10.8.128/25 of PoP hub",
    ),
    "a PoP's prefix too small": (
        "prefix: 10.10.8.0/24",
        "prefix: 10.10.8.0/31",
        "small.yaml:8: prefix 10.10.8.0/31 has no room for a gateway and a host\n  allowed: /30 or larger",
    ),
    "an unknown ISP": (
        "[right.only, carrier.edge]",
        "[wrong.only, carrier.edge]",
        "small.yaml:29: there is no ISP 'wrong'\n  allowed: carrier, left, far, right",
    ),
    "an unknown PoP of a known ISP": (
        "[right.only, carrier.edge]",
        "[right.only, carrier.egde]",
        "small.yaml:29: ISP carrier has no PoP 'egde'\n"
        "  allowed: hub, edge\n"
        "  to mend it: did you mean 'edge'?",
    ),
    "an end without its ISP": (
        "[right.only, carrier.edge]",
        "[only, carrier.edge]",
        "small.yaml:29: interdomain.1.between.0: 'only' is not a PoP of an ISP\n"
        "  allowed: isp.pop, both of them names as in the file",
    ),
    "an interdomain link inside an ISP": (
        "[right.only, carrier.edge]",
        "[carrier.hub, carrier.edge]",
        "small.yaml:29: a link inside ISP carrier\n"
        "  allowed: PoPs of two different ISPs, as in [isp.pop, other-isp.pop]",
    ),
    "an interdomain link from a PoP to itself": (
        "[right.only, carrier.edge]",
        "[right.only, right.only]",
        "small.yaml:29: a link from right.only to itself\n"
        "  allowed: PoPs of two different ISPs, as in [isp.pop, other-isp.pop]",
    ),
    "a relationship that does not exist": (
        "relationship: customer-provider\n    capacity: 5 Mbit/s\n    delay",
        "relationship: friend\n    capacity: 5 Mbit/s\n    delay",
        "small.yaml:30: interdomain.1.relationship: 'friend' is not known\n"
        "  allowed: 'customer-provider' or 'peer-peer'",
    ),
    "links that disagree": (
        "    delay: 4 ms\n",
        "    delay: 4 ms\n"
        "  - between: [carrier.hub, left.two]\n"
        "    relationship: customer-provider\n"
        "    capacity: 1 Gbit/s\n",
        "small.yaml:34: links between carrier and left disagree on who pays: "
        "small.yaml:26 says that left pays\n"
        "  allowed: one relationship for each pair of ISPs, the customer first in 'between'",
    ),
    "peers that also pay": (
        "    delay: 4 ms\n",
        "    delay: 4 ms\n"
        "  - between: [carrier.hub, left.two]\n"
        "    relationship: peer-peer\n"
        "    capacity: 1 Gbit/s\n",
        "small.yaml:34: links between carrier and left disagree on who pays: "
        "small.yaml:26 says that left pays\n"
        "  allowed: one relationship for each pair of ISPs, the customer first in 'between'",
    ),
    "ISPs that pay in a circle": (
        "    delay: 4 ms\n",
        "    delay: 4 ms\n"
        "  - between: [carrier.hub, far.away]\n"
        "    relationship: customer-provider\n"
        "    capacity: 1 Gbit/s\n"
        "  - between: [far.away, left.two]\n"
        "    relationship: customer-provider\n"
        "    capacity: 1 Gbit/s\n",
        "small.yaml:25: ISPs pay each other in a circle: left pays carrier, carrier pays far, far pays left\n"
        "  allowed: customer-provider links that lead upwards, without a circle",
    ),
    "an ISP in parts": (
        "      - {between: [one, two], capacity: [20 Mbit/s, 10 Mbit/s], background: 2 Mbit/s}\n",
        "      []\n",
        "small.yaml:11: ISP left falls apart: no internal links between one and two\n"
        "  to mend it: add links between these PoPs under 'links', or make ISPs of the parts",
    ),
    "a currency in small letters": (
        "price: 2",
        "price: 2, currency: euro",
        "small.yaml:28: interdomain.0.tariff.currency: 'euro' is not a currency\n"
        "  allowed: three capital letters such as EUR",
    ),
    "a negative price": (
        "price: 2",
        "price: -2",
        "small.yaml:28: interdomain.0.tariff.price: -2 is too small\n  allowed: at least 0",
    ),
    "an exchange point with one member": (
        ", right.only: 1 Gbit/s}",
        "}",
        "small.yaml:36: ixps.market.members: has 1 entry\n  allowed: at least 2",
    ),
    "an exchange point inside one ISP": (
        "right.only: 1 Gbit/s}",
        "left.one: 1 Gbit/s}",
        "small.yaml:36: no two members of exchange point market peer there\n"
        "  allowed: PoPs of two ISPs or more of which none is the customer of another",
    ),
    "an exchange point with an unknown member": (
        "right.only: 1 Gbit/s}",
        "right.any: 1 Gbit/s}",
        "small.yaml:36: ISP right has no PoP 'any'\n  allowed: only",
    ),
    "an exchange point of customer and provider": (
        "{left.two: 1 Gbit/s, right.only",
        "{left.two: 1 Gbit/s, carrier.hub",
        "small.yaml:36: no two members of exchange point market peer there\n"
        "  allowed: PoPs of two ISPs or more of which none is the customer of another",
    ),
    "a key that stands twice": (
        "name: small",
        "name: small\nname: again",
        "small.yaml:2: not valid YAML: the key 'name' stands twice, first in line 1",
    ),
    "a bracket that never closes": (
        "at: [51.0, 0.0]",
        "at: [51.0, 0.0",
        "small.yaml:14: not valid YAML: did not find expected ',' or ']'",
    ),
    "a tab for spaces": (
        "  line: {down",
        "\tline: {down",
        "small.yaml:38: not valid YAML: a tab can't indent\n  to mend it: write spaces in place of it",
    ),
    "portal in words": (
        "asn: 30",
        "asn: 30\n    portal: no",
        "small.yaml:22: isps.right.portal: 'no' is neither true nor false\n  allowed: true, false",
    ),
    "nothing where a mapping should be": (
        "access:\n  line: {down: 8 Mbit/s, up: 1 Mbit/s, delay: 2 ms}",
        "access:",
        "small.yaml:37: access: has no value\n  allowed: keys and their values: {key: value}",
    ),
}


def error_of(folder: Path, text: str) -> str:
    path = folder / "small.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        load_topology(path)
    return str(caught.value).replace(f"{folder}/", "")


def test_the_topology_that_the_errors_start_from_has_none(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(TOPOLOGY, encoding="utf-8")
    spec, _ = load_topology(path)
    assert list(spec.isps) == ["carrier", "left", "far", "right"]


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_topology_file_gets_exactly_this_message(tmp_path: Path, wrong: str) -> None:
    old, new, message = WRONG[wrong]
    assert TOPOLOGY.count(old) >= 1
    assert error_of(tmp_path, TOPOLOGY.replace(old, new, 1)) == message
