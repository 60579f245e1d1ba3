"""Text of others, made harmless for a terminal: what would move its cursor or change its colours is shown.

A server's names come in, or an error that quotes them; text without control characters goes out.
"""

from __future__ import annotations

import re

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def plain(text: str) -> str:
    """The text with control characters, but for tabs and line ends, and changes of direction as escapes."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
