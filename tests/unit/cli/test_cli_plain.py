"""What a server, or a file, calls itself can't do anything to the terminal."""

from __future__ import annotations

import pytest

from testbed.cli.plain import plain
from testbed.cli.tables import show, table


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("m\x1b[31mX\x1b]0;pwn\x07", "m\\x1b[31mX\\x1b]0;pwn\\x07"),
        ("a\rb\x7f\x9b2J", "a\\rb\\x7f\\x9b2J"),
        ("one\ntwo\tthree, Zürich, 日本", "one\ntwo\tthree, Zürich, 日本"),
        ("abc\u202edef", "abc\\u202edef"),
    ],
)
def test_control_characters_are_shown_and_letters_stay(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_tables_and_lines_are_plain(capsys: pytest.CaptureFixture[str]) -> None:
    rows = table(["name"], ["n"])
    rows.add_row("\x1b[31mred", "1")
    show([rows, "line \x1b[2J"])
    out = capsys.readouterr().out
    assert "\x1b[31m" not in out
    assert "\x1b[2J" not in out
    assert "\\x1b[31mred" in out
