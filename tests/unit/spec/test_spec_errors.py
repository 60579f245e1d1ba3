"""Golden errors: a wrong line in a topology or experiment, and the exact message that it must give."""

from __future__ import annotations

from pathlib import Path

import pytest
import small_topology

from testbed.errors import UserError
from testbed.spec.experiment import load_experiment
from testbed.spec.topology import load_topology

EXPERIMENT = """\
name: tiny
topology: small.yaml
policies: [native, p4p]
swarm:
  content: {size: 1 MiB}
  seeds: [{isp: carrier, pop: hub, access: server}]
  leechers:
    - {isp: left, count: 2, access: line}
tracker: {at: carrier.hub}
"""


def topology_error(folder: Path, old: str, new: str) -> str:
    assert old in small_topology.TEXT
    path = small_topology.write(folder, small_topology.TEXT.replace(old, new, 1))
    with pytest.raises(UserError) as caught:
        load_topology(path)
    return str(caught.value).replace(str(folder) + "/", "")


def experiment_error(folder: Path, old: str, new: str) -> str:
    assert old in EXPERIMENT
    small_topology.write(folder)
    path = folder / "tiny.yaml"
    path.write_text(EXPERIMENT.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(UserError) as caught:
        load_experiment(path)
    return str(caught.value).replace(str(folder) + "/", "")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "capacity: 50 Mbit/s, weight: 3",
            "capacity: 50 Mbit/s, wieght: 3",
            "small.yaml:9: unknown key 'wieght'\n"
            "  allowed: between, capacity, delay, weight\n"
            "  to mend it: did you mean 'weight'?",
        ),
        (
            "capacity: 50 Mbit/s, weight",
            "capacity: 50, weight",
            "small.yaml:9: isps.carrier.links.0.capacity: 50 has no unit\n"
            "  allowed: a number and one of bit/s, kbit/s, Mbit/s, Gbit/s, such as 10 Mbit/s",
        ),
        ("    asn: 20\n", "", "small.yaml:10: 'asn' is missing"),
        (
            "between: [one, two]",
            "between: [one, one]",
            "small.yaml:16: a link from one to itself\n"
            "  allowed: two different PoPs\n"
            "small.yaml:10: ISP left falls apart: no internal links between one and two\n"
            "  to mend it: add links between these PoPs under 'links'",
        ),
        (
            "between: [one, two]",
            "between: [one, twoo]",
            "small.yaml:16: there is no PoP of ISP left 'twoo'\n"
            "  allowed: one, two\n"
            "  to mend it: did you mean 'two'?\n"
            "small.yaml:10: ISP left falls apart: no internal links between one and two\n"
            "  to mend it: add links between these PoPs under 'links'",
        ),
        (
            "[right.only, carrier.edge]",
            "[wrong.only, carrier.edge]",
            "small.yaml:26: there is no ISP 'wrong'\n  allowed: carrier, left, right",
        ),
        (
            "[right.only, carrier.edge]",
            "[carrier.hub, carrier.edge]",
            "small.yaml:26: a link inside ISP carrier\n"
            "  allowed: PoPs of two different ISPs, as in [isp.pop, other-isp.pop]",
        ),
        (
            "[right.only, carrier.edge]",
            "[right.only, right.only]",
            "small.yaml:26: a link from right.only to itself\n"
            "  allowed: PoPs of two different ISPs, as in [isp.pop, other-isp.pop]",
        ),
        ("asn: 30", "asn: 20", "small.yaml:18: asn 20 is that of left too"),
        (
            "relationship: customer-provider\n    capacity: 5 Mbit/s\n    delay",
            "relationship: friend\n    capacity: 5 Mbit/s\n    delay",
            "small.yaml:27: interdomain.1.relationship: 'friend' is not known\n"
            "  allowed: 'customer-provider' or 'peer-peer'",
        ),
        (
            "name: small",
            "name: small\nname: again",
            'small.yaml:2: not valid YAML: found duplicate key "name"',
        ),
    ],
)
def test_a_wrong_topology_file_gets_this_message(tmp_path: Path, old: str, new: str, message: str) -> None:
    found = topology_error(tmp_path, old, new)
    assert found.startswith(message) if "duplicate" in message else found == message


def test_a_customer_that_is_its_own_provider_is_named(tmp_path: Path) -> None:
    found = topology_error(tmp_path, "[right.only, carrier.edge]", "[carrier.edge, left.two]")
    assert "small.yaml:22: ISP left pays carrier, which directly or through others pays left" in found


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "{isp: left, count",
            "{isp: lefft, count",
            "tiny.yaml:8: there is no ISP 'lefft'\n"
            "  allowed: carrier, left, right\n"
            "  to mend it: did you mean 'left'?",
        ),
        (
            "count: 2, access: line",
            "count: 2, access: lane",
            "tiny.yaml:8: there is no access profile 'lane'\n"
            "  allowed: line, server\n"
            "  to mend it: did you mean 'line'?",
        ),
        (
            "pop: hub",
            "pop: hob",
            "tiny.yaml:6: there is no PoP of ISP carrier 'hob'\n"
            "  allowed: hub, edge\n"
            "  to mend it: did you mean 'hub'?",
        ),
        (
            "size: 1 MiB",
            "size: 1",
            "tiny.yaml:5: swarm.content.size: 1 has no unit\n"
            "  allowed: a number and one of B, kB, MB, GB, KiB, MiB, GiB, such as 16 MiB",
        ),
        (
            "tracker: {at: carrier.hub}",
            "trakcer: {at: carrier.hub}",
            "tiny.yaml:1: 'tracker' is missing\n"
            "tiny.yaml:9: unknown key 'trakcer'\n"
            "  allowed: name, topology, seed, repeats, policies, swarm, client, tracker, portals, "
            "congestion_control, timeout\n"
            "  to mend it: did you mean 'tracker'?",
        ),
        ("[native, p4p]", "[native, native]", "tiny.yaml:3: policy 'native' is named twice"),
        (
            "topology: small.yaml",
            "topology: nowhere.yaml",
            "tiny.yaml:2: there is no topology file 'nowhere.yaml' (looked for nowhere.yaml)\n"
            "  allowed: a path relative to the experiment's file",
        ),
    ],
)
def test_a_wrong_experiment_file_gets_this_message(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert experiment_error(tmp_path, old, new) == message


def test_a_file_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such file"):
        load_topology(tmp_path / "none.yaml")


def test_all_problems_of_a_file_are_reported_together(tmp_path: Path) -> None:
    found = topology_error(tmp_path, "capacity: 50 Mbit/s, weight: 3", "capacity: 50, weight: -1")
    assert "has no unit" in found
    assert "weight" in found
