"""The writer of topology files: what is written reads back the same, laid out for people, safe from YAML."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from testbed.spec.units import parse_duration, parse_rate
from testbed.topology.writing import duration_text, rate_text, topology_yaml

TOPOLOGY = {
    "name": "two",
    "description": "Two ISPs: made up # for a test",
    "isps": {
        "left": {
            "asn": 1,
            "prefix": "10.1.0.0/16",
            "pops": {"no": {"at": [50.0, -0.00001]}, "e3": {}},
            "links": [{"between": ["no", "e3"], "capacity": ["1 Mbit/s", "2 Mbit/s"], "weight": 2.5}],
        },
        "right": {"asn": 2, "pops": {"null": {"metro": "yes"}}, "pids": {"all": ["null"]}},
    },
    "ixps": {"ix": {"members": {"left.no": "1 Gbit/s", "right.null": "1 Gbit/s"}, "weight": 50}},
    "access": {"dsl": "adsl2plus", "own": {"down": "8 Mbit/s", "up": "1 Mbit/s", "source": "2008-01-02"}},
}


def read(text: str) -> object:
    return YAML(typ="safe").load(text)


def test_a_topology_is_laid_out_with_a_line_for_each_pop_and_link() -> None:
    assert topology_yaml(TOPOLOGY, ["Made up."]) == (
        "# Made up.\n"
        "name: two\n"
        'description: "Two ISPs: made up # for a test"\n'
        "\n"
        "isps:\n"
        "  left:\n"
        "    asn: 1\n"
        "    prefix: 10.1.0.0/16\n"
        "    pops:\n"
        '      "no": {at: [50.0, -0.00001]}\n'
        "      e3: {}\n"
        "    links:\n"
        '      - {between: ["no", e3], capacity: [1 Mbit/s, 2 Mbit/s], weight: 2.5}\n'
        "  right:\n"
        "    asn: 2\n"
        "    pops:\n"
        '      "null": {metro: "yes"}\n'
        "    pids:\n"
        '      all: ["null"]\n'
        "\n"
        "ixps:\n"
        "  ix:\n"
        "    members:\n"
        "      left.no: 1 Gbit/s\n"
        "      right.null: 1 Gbit/s\n"
        "    weight: 50\n"
        "\n"
        "access:\n"
        "  dsl: adsl2plus\n"
        '  own: {down: 8 Mbit/s, up: 1 Mbit/s, source: "2008-01-02"}\n'
    )


def test_what_is_written_reads_back_the_same() -> None:
    assert read(topology_yaml(TOPOLOGY)) == TOPOLOGY


@given(st.dictionaries(st.text(max_size=12), st.text(max_size=20), max_size=4))
def test_any_text_reads_back_the_same(words: dict[str, str]) -> None:
    data = {"name": "x", "isps": {"a": {"asn": 1, "pops": words}}}
    assert read(topology_yaml(data)) == data


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_number_reads_back_the_same(number: float) -> None:
    found = read(topology_yaml({"name": number}))
    assert found == {"name": number}


def test_a_comment_can_not_end_before_its_line_does() -> None:
    assert read(topology_yaml({"name": "x"}, ["one\nname: y", "\u0085name: z"])) == {"name": "x"}


def test_a_number_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="nan"):
        topology_yaml({"name": float("nan")})


@pytest.mark.parametrize(
    ("rate_bps", "text"),
    [
        (9_920_000_000, "9.92 Gbit/s"),
        (10_000_000, "10 Mbit/s"),
        (1_000, "1 kbit/s"),
        (1_234_567, "1.234567 Mbit/s"),
    ],
)
def test_a_rate_is_written_in_the_largest_unit(rate_bps: int, text: str) -> None:
    assert rate_text(rate_bps) == text


@given(st.integers(min_value=1000, max_value=10**15))
def test_a_rate_reads_back_exactly(rate_bps: int) -> None:
    assert parse_rate(rate_text(rate_bps)) == rate_bps


@pytest.mark.parametrize(
    ("duration_s", "text"), [(0.0071, "7.1 ms"), (0.0, "0 ms"), (90.0, "90 s"), (2.5e-7, "250 ns")]
)
def test_a_duration_is_written_in_the_unit_that_people_would_use(duration_s: float, text: str) -> None:
    assert duration_text(duration_s) == text


@given(st.floats(min_value=1e-12, max_value=1e6))
def test_a_duration_reads_back_within_the_last_digit(duration_s: float) -> None:
    assert parse_duration(duration_text(duration_s)) == pytest.approx(duration_s, rel=1e-14)
