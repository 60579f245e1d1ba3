"""YAML 1.2 as data: what words stand for, where everything stands, and what is refused."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.errors import UserError
from testbed.spec.yaml_reader import Places, read_yaml

PATH = Path("a.yaml")


def read(text: str) -> Any:
    return read_yaml(text, PATH, Places())


def error(text: str) -> str:
    with pytest.raises(UserError) as caught:
        read(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("~", None),
        ("", None),
        ("12", 12),
        ("-7", -7),
        ("0x1F", 31),
        ("0o17", 15),
        ("012", 12),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".inf", float("inf")),
        ("2024-05-01", "2024-05-01"),
        ("1_000", "1_000"),
        ("10:20", "10:20"),
        ("'12'", "12"),
        ('"true"', "true"),
        ("!!str 12", "12"),
        ("!!float 12", 12.0),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_a_word_stands_for_what_yaml_1_2_says(text: str, value: object) -> None:
    found = read(f"key: {text}")["key"]
    assert found == value
    assert type(found) is type(value)


def test_keys_are_always_text() -> None:
    assert read("{1: a, true: b, ~: c}") == {"1": "a", "true": "b", "~": "c"}


def test_every_key_and_item_knows_its_line() -> None:
    places = Places()
    data = read_yaml("a:\n  b: 1\n\nc:\n  - x\n  - {d: 2}\n", PATH, places)
    assert places.of(data) == {"a": (PATH, 1), "c": (PATH, 4)}
    assert places.of(data["a"]) == {"b": (PATH, 2)}
    assert places.of(data["c"]) == {0: (PATH, 5), 1: (PATH, 6)}
    assert places.of(data["c"][1]) == {"d": (PATH, 6)}
    assert places.of(data["a"]["b"]) == {}


def test_what_is_merged_keeps_its_line_and_gives_way_to_what_is_written() -> None:
    places = Places()
    text = "base: &base\n  x: 1\n  y: 2\nother: &other {y: 9, z: 9}\nuse:\n  <<: [*base, *other]\n  x: 3\n"
    data = read_yaml(text, PATH, places)
    assert data["use"] == {"x": 3, "y": 2, "z": 9}
    assert places.of(data["use"]) == {"x": (PATH, 7), "y": (PATH, 3), "z": (PATH, 4)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "a.yaml:3: not valid YAML: the key 'a' stands twice, first in line 1"),
        ("a: *b\n", "a.yaml:1: not valid YAML: the alias *b refers to nothing before it"),
        ("a: &a [*a]\n", "a.yaml:1: not valid YAML: the alias *a refers to nothing before it"),
        ("a: 1\n---\nb: 2\n", "a.yaml:3: not valid YAML: a second document; a file holds one"),
        ("a: !mine 1\n", "a.yaml:1: not valid YAML: '1' with the tag !mine"),
        ("a: !!int x\n", "a.yaml:1: not valid YAML: 'x' with the tag !!int"),
        ("a: !!python/object:os {}\n", "a.yaml:1: not valid YAML: the tag !!python/object:os is not known"),
        ("[a]: 1\n", "a.yaml:1: not valid YAML: a key that is no plain word"),
        ("a:\n  <<: 5\n", "a.yaml:2: not valid YAML: '<<' merges mappings, and this is none"),
        (
            "a:\n\tb: 1\n",
            "a.yaml:2: not valid YAML: a tab can't indent\n  to mend it: write spaces in place of it",
        ),
        (
            "a:\n  - b: 1\n  \tc: 2\n",
            "a.yaml:3: not valid YAML: a tab can't indent\n  to mend it: write spaces in place of it",
        ),
        ("a: @b\t\n", "a.yaml:1: not valid YAML: found character that cannot start any token"),
        ("a: " + "[" * 60, "a.yaml:1: not valid YAML: more than 40 levels of nesting"),
    ],
)
def test_what_is_no_plain_data_is_refused_with_its_line(text: str, message: str) -> None:
    assert error(text) == message


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_and_never_breaks(text: str) -> None:
    with contextlib.suppress(UserError):
        read(text)
