"""Golden errors of experiment files, and what holds for the errors of any file."""

from __future__ import annotations

from pathlib import Path

import pytest
import small_topology

from testbed.errors import UserError
from testbed.spec.experiment import load_experiment
from testbed.spec.loading import MOST_PROBLEMS
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
            "tiny.yaml:6: ISP carrier has no PoP 'hob'\n"
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
            "controller, congestion_control, timeout, events\n"
            "  to mend it: did you mean 'tracker'?",
        ),
        ("[native, p4p]", "[native, native]", "tiny.yaml:3: policy 'native' is named twice"),
        (
            "[native, p4p]",
            "native",
            "tiny.yaml:3: policies: 'native' is not a list\n  allowed: values in brackets: [a, b]",
        ),
        ("[native, p4p]", "[]", "tiny.yaml:3: policies: has 0 entries\n  allowed: at least 1"),
        (
            "[native, p4p]",
            "[native, 7]",
            "tiny.yaml:3: policies.1: 7 is no policy\n"
            "  allowed: a name, or one name with its parameters: {p4p: {gamma: 0.7}}",
        ),
        (
            "[native, p4p]",
            "[{native: {}, p4p: {}}]",
            "tiny.yaml:3: policies.0: an entry names 2 policies\n"
            "  allowed: a name, or one name with its parameters: {p4p: {gamma: 0.7}}",
        ),
        (
            "[native, p4p]",
            "[{p4p: 0.7}]",
            "tiny.yaml:3: policies.0: the parameters of p4p are 0.7\n"
            "  allowed: a name, or one name with its parameters: {p4p: {gamma: 0.7}}",
        ),
        (
            "name: tiny",
            "name: Tiny Net",
            "tiny.yaml:1: name: 'Tiny Net' is not a name\n"
            "  allowed: lower case letters, digits and dashes, at most 24, starting with a letter",
        ),
        (
            "count: 2",
            "count: two",
            "tiny.yaml:8: swarm.leechers.0.count: 'two' is not a whole number\n  allowed: such as 1 or 200",
        ),
        (
            "{at: carrier.hub}",
            "{at: carrier}",
            "tiny.yaml:9: tracker.at: 'carrier' is not a PoP of an ISP\n"
            "  allowed: isp.pop, both of them names as in the file",
        ),
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


def topology_error(folder: Path, text: str) -> str:
    with pytest.raises(UserError) as caught:
        load_topology(small_topology.write(folder, text))
    return str(caught.value).replace(f"{folder}/", "")


def test_all_problems_of_a_file_are_reported_together(tmp_path: Path) -> None:
    wrong = small_topology.TEXT.replace("capacity: 50 Mbit/s, weight: 3", "capacity: 50, weight: -1")
    found = topology_error(tmp_path, wrong)
    assert "has no unit" in found
    assert "weight: -1 is too small" in found


def test_of_very_many_problems_the_first_are_reported(tmp_path: Path) -> None:
    links = "\n".join(["      - {between: [one, two], capacity: 5}"] * 500)
    found = topology_error(tmp_path, small_topology.TEXT.replace("    links:\n", f"    links:\n{links}\n"))
    assert found.count("has no unit") == MOST_PROBLEMS
    assert found.endswith("there are more problems; mend these first")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "small.yaml:1: the file is empty\n  allowed: keys and their values, as in 'name: x'"),
        (
            b"# a comment\n",
            "small.yaml:1: the file is empty\n  allowed: keys and their values, as in 'name: x'",
        ),
        (
            b"- a\n",
            "small.yaml:1: the file holds no mapping of keys to values\n"
            "  allowed: keys and their values, as in 'name: x'",
        ),
        (b"name: \xff\n", "small.yaml: is no text in UTF-8"),
        (
            EXPERIMENT.encode(),
            "small.yaml:4: small.yaml is an experiment file, and a topology file is needed\n"
            "  to mend it: give the topology that it names, small.yaml",
        ),
        (
            b"access: {line: adsl2plus}\n",
            "small.yaml:1: 'name' is missing\n"
            "  to mend it: give it a name; if it is a part of another file, validate the file that "
            "includes it\n"
            "small.yaml:1: 'isps' is missing",
        ),
        (b"description: a note\n", "small.yaml:1: 'name' is missing\nsmall.yaml:1: 'isps' is missing"),
        (b"\x7fELF\x01", "small.yaml:1: not valid YAML: a character that YAML does not allow"),
    ],
)
def test_a_file_of_another_kind_is_said_so(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "small.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_topology(path)
    assert str(caught.value).replace(f"{tmp_path}/", "") == message


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        load_topology(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: this is a folder, and a file is needed\n"
        f"  to mend it: name files in it, such as {tmp_path}/*.yaml"
    )


def test_an_experiment_that_is_given_as_topology_gets_one_error_in_the_line_that_names_it(
    tmp_path: Path,
) -> None:
    assert experiment_error(tmp_path, "topology: small.yaml", "topology: tiny.yaml") == (
        "tiny.yaml:2: tiny.yaml is an experiment file, and a topology file is needed\n"
        "  to mend it: give the topology that it names, tiny.yaml"
    )


def test_a_topology_that_is_given_as_experiment_gets_one_error(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        load_experiment(small_topology.write(tmp_path))
    assert str(caught.value).replace(f"{tmp_path}/", "") == (
        "small.yaml:2: small.yaml is a topology file, and an experiment file is needed\n"
        "  to mend it: give an experiment that names it under 'topology'"
    )


def test_nothing_is_converted_in_silence(tmp_path: Path) -> None:
    assert "'20' is not a whole number" in topology_error(
        tmp_path, small_topology.TEXT.replace("asn: 20", "asn: '20'")
    )
    assert "true is not a whole number" in topology_error(
        tmp_path, small_topology.TEXT.replace("asn: 20", "asn: true")
    )
