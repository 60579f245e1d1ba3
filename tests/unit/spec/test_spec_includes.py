"""Topologies in several files: joined as if written in one, with every problem at its own file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.errors import UserError
from testbed.spec.topology import load_topology

ACCESS = "access:\n  line: {down: 8 Mbit/s, up: 1 Mbit/s}\n"
LEFT = "name: alone\nisps:\n  left: {asn: 1, pops: {a: {}}}\n"
RIGHT = "isps:\n  right: {asn: 2, pops: {b: {}}}\n"
LINK = "interdomain:\n  - {between: [left.a, right.b], relationship: peer-peer, capacity: 1 Gbit/s}\n"


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder / "main.yaml"


def error(folder: Path, **files: str) -> str:
    with pytest.raises(UserError) as caught:
        load_topology(write(folder, **files))
    return str(caught.value).replace(f"{folder}/", "")


def test_a_topology_in_parts_is_equal_to_the_same_in_one_file(tmp_path: Path) -> None:
    parts = write(
        tmp_path,
        left=LEFT,
        right=RIGHT,
        access=ACCESS,
        main="name: pair\ninclude: [left.yaml, right.yaml, access.yaml]\n" + LINK,
    )
    whole = tmp_path / "whole.yaml"
    whole.write_text("name: pair\n" + LEFT.partition("\n")[2] + RIGHT.partition("\n")[2] + LINK + ACCESS)
    assert load_topology(parts)[0] == load_topology(whole)[0]
    assert list(load_topology(parts)[0].isps) == ["left", "right"]


def test_what_is_included_stands_first_and_links_are_put_in_a_row(tmp_path: Path) -> None:
    second = LINK.partition("\n")[2].replace("1 Gbit/s", "2 Gbit/s")
    spec, document = load_topology(
        write(
            tmp_path,
            one=LEFT + RIGHT.partition("\n")[2] + LINK,
            main="name: x\ninclude: [one.yaml]\ninterdomain:\n" + second,
        )
    )
    assert [link.capacity[0] for link in spec.interdomain] == [10**9, 2 * 10**9]
    assert document.where(("interdomain", 0, "capacity")) == f"{tmp_path}/one.yaml:6"
    assert document.where(("interdomain", 1, "capacity")) == f"{tmp_path}/main.yaml:4"
    assert document.where(("isps", "right", "asn")) == f"{tmp_path}/one.yaml:4"
    assert document.where(("name",)) == f"{tmp_path}/main.yaml:1"


def test_includes_are_relative_to_their_file_and_each_file_counts_once(tmp_path: Path) -> None:
    (tmp_path / "isps").mkdir()
    (tmp_path / "isps" / "left.yaml").write_text("include: [../access.yaml]\n" + LEFT)
    path = write(
        tmp_path,
        access=ACCESS,
        right="include: [access.yaml]\n" + RIGHT,
        main="name: pair\ninclude: [isps/left.yaml, right.yaml, access.yaml]\n" + LINK,
    )
    spec, _ = load_topology(path)
    assert (list(spec.isps), list(spec.access), spec.name, spec.include) == (
        ["left", "right"],
        ["line"],
        "pair",
        [],
    )


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"main": "name: x\ninclude: [none.yaml]\n" + LEFT.partition("\n")[2]},
            "main.yaml:2: there is no file 'none.yaml' to include (looked for none.yaml)\n"
            "  allowed: a path relative to the file that includes it",
        ),
        (
            {"main": "name: x\ninclude:\n  - .\n"},
            "main.yaml:3: '.' is no file\n  allowed: a topology file or a part of one",
        ),
        (
            {"main": "name: x\ninclude: left.yaml\n"},
            "main.yaml:2: include: 'left.yaml' is not a list\n"
            "  allowed: a list of files, relative to this one: [access.yaml, isps/cablenet.yaml]",
        ),
        (
            {"main": "name: x\ninclude: [7]\n"},
            "main.yaml:2: include: 7 is not the name of a file\n"
            "  allowed: a list of files, relative to this one: [access.yaml, isps/cablenet.yaml]",
        ),
        (
            {"main": "name: x\ninclude: [main.yaml]\n"},
            "main.yaml:2: files include each other in a circle: main.yaml > main.yaml\n"
            "  to mend it: leave out one of these includes",
        ),
        (
            {"main": "name: x\ninclude: [a.yaml]\n", "a": "include: [b.yaml]\n", "b": "include:\n- a.yaml\n"},
            "b.yaml:2: files include each other in a circle: a.yaml > b.yaml > a.yaml\n"
            "  to mend it: leave out one of these includes",
        ),
        (
            {"main": "name: x\ninclude: [left.yaml]\n" + RIGHT.replace("right", "left"), "left": LEFT},
            "main.yaml:4: isps.left is given in left.yaml:3 too\n"
            "  to mend it: rename one of the two, or leave it out in one file",
        ),
        (
            {
                "main": "name: x\ninclude: [left.yaml]\n" + RIGHT.replace("right", "left"),
                "left": LEFT.replace("asn: 1", "asn: 2"),
            },
            "main.yaml:4: isps.left is given in left.yaml:3 too\n"
            "  to mend it: rename one of the two and give it another asn, or leave it out in one file",
        ),
        (
            {
                "main": "name: x\ninclude: [left.yaml, right.yaml]\n",
                "left": LEFT + ACCESS,
                "right": RIGHT.replace("asn: 2", "asn: 1") + ACCESS.replace("8 Mbit/s", "9 Mbit/s"),
            },
            "right.yaml:4: access.line is given in left.yaml:5 too\n"
            "  to mend it: rename one of the two, or give it in the file that includes both: that one "
            "counts\n"
            "right.yaml:2: asn 1 is that of left too\n"
            "  allowed: a number for each ISP\n"
            "  to mend it: give one of them another asn (`testbed import --asn`)",
        ),
        (
            {
                "main": "name: x\ninclude: [left.yaml, right.yaml]\n",
                "left": LEFT + ACCESS,
                "right": RIGHT.replace("asn: 2", "asn: two") + ACCESS.replace("8 Mbit/s", "9 Mbit/s"),
            },
            "right.yaml:4: access.line is given in left.yaml:5 too\n"
            "  to mend it: rename one of the two, or give it in the file that includes both: that one "
            "counts\n"
            "right.yaml:2: isps.right.asn: 'two' is not a whole number\n  allowed: such as 1 or 200",
        ),
        (
            {"main": "name: x\ninclude: [left.yaml]\n", "left": LEFT + "acess: {}\n"},
            "left.yaml:4: unknown key 'acess'\n"
            "  allowed: name, description, include, isps, interdomain, ixps, access\n"
            "  to mend it: did you mean 'access'?",
        ),
        (
            {"main": "name: x\ninclude: [left.yaml]\n", "left": LEFT.replace("asn: 1", "asn: one")},
            "left.yaml:3: isps.left.asn: 'one' is not a whole number\n  allowed: such as 1 or 200",
        ),
        (
            {"main": "name: x\ninclude: [left.yaml]\n" + LINK, "left": LEFT},
            "main.yaml:4: there is no ISP 'right'\n  allowed: left",
        ),
        (
            {"main": "name: x\ninclude: [left.yaml]\n", "left": "isps: [left]\n"},
            "left.yaml:1: isps: a list is not a mapping",
        ),
        (
            {"main": "name: x\ninclude: [left.yaml]\n", "left": "isps: {left: [}\n"},
            "left.yaml:1: not valid YAML: did not find expected node content",
        ),
    ],
)
def test_a_wrong_include_gets_exactly_this_message(
    tmp_path: Path, files: dict[str, str], message: str
) -> None:
    assert error(tmp_path, **files) == message


def test_a_circle_of_files_of_one_name_is_told_by_their_folders(tmp_path: Path) -> None:
    (tmp_path / "isps").mkdir()
    (tmp_path / "isps" / "main.yaml").write_text("include: [../main.yaml]\n", encoding="utf-8")
    assert error(tmp_path, main="name: x\ninclude: [isps/main.yaml]\n").startswith(
        "isps/main.yaml:1: files include each other in a circle: main.yaml > isps/main.yaml > main.yaml\n"
    )


def test_a_very_long_chain_of_includes_is_refused_with_the_line_of_the_first_too_deep(tmp_path: Path) -> None:
    files = {f"part{number}": f"include: [part{number + 1}.yaml]\n" for number in range(1, 1500)}
    assert error(tmp_path, main="name: x\ninclude: [part1.yaml]\n", **files) == (
        "part40.yaml:1: more than 40 levels of includes\n"
        "  to mend it: include this from a file nearer to the first"
    )


def test_forty_levels_of_includes_are_taken(tmp_path: Path) -> None:
    files = {f"part{number}": f"include: [part{number + 1}.yaml]\n" for number in range(1, 40)}
    path = write(tmp_path, main="name: x\ninclude: [part1.yaml]\n", part40=LEFT, **files)
    assert list(load_topology(path)[0].isps) == ["left"]


def test_an_entry_that_two_files_give_alike_is_no_conflict(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        left=LEFT + ACCESS,
        right=RIGHT + ACCESS.replace("{down", "{  down"),
        main="name: pair\ninclude: [left.yaml, right.yaml]\n" + LINK,
    )
    spec, document = load_topology(path)
    assert list(spec.access) == ["line"]
    assert document.where(("access", "line", "up")) == f"{tmp_path}/left.yaml:5"


def test_an_access_line_of_a_file_counts_in_place_of_those_that_it_includes(tmp_path: Path) -> None:
    fast, faster = (ACCESS.replace("8 Mbit/s", rate) for rate in ("9 Mbit/s", "10 Mbit/s"))
    parts = {"left": LEFT + ACCESS, "right": RIGHT + fast}
    middle = "include: [left.yaml, right.yaml]\n" + faster
    spec, document = load_topology(write(tmp_path, main="name: x\n" + middle, **parts))
    assert spec.access["line"].down == 10_000_000
    assert document.where(("access", "line")) == f"{tmp_path}/main.yaml:4"
    nested = write(tmp_path, main="name: x\ninclude: [left.yaml, middle.yaml]\n", middle=middle, **parts)
    assert load_topology(nested)[0].access["line"].down == 10_000_000


def test_an_exchange_point_of_a_file_is_no_setting_of_those_that_it_includes(tmp_path: Path) -> None:
    ixp = "ixps:\n  market: {members: {left.a: 1 Gbit/s, right.b: 1 Gbit/s}}\n"
    pair = LEFT + RIGHT.partition("\n")[2] + ixp
    main = "name: x\ninclude: [pair.yaml]\n" + ixp.replace("left.a: 1", "left.a: 2")
    assert error(tmp_path, main=main, pair=pair) == (
        "main.yaml:4: ixps.market is given in pair.yaml:6 too\n"
        "  to mend it: rename one of the two, or leave it out in one file"
    )
