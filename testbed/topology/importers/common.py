"""What all importers share: what comes in, what the user chose, what goes out, and names that fit.

Files come in with labels that people wrote; topology files have names of lower case letters, digits and
dashes. What is guessed, dropped or renamed on the way is said in notes.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from testbed.errors import Problem, UserError
from testbed.spec.units import format_rate

External = Literal["drop", "keep", "peers", "customers"]

LONGEST_NAME = 24
MOST_LISTED = 40
"""Of what was guessed or dropped, so many are named in a note."""
DEFAULT_ASN = 64512  # the first of those that RFC 6996 sets aside for private use
DEFAULT_CAPACITY_BPS = 10 * 10**9
DEFAULT_DELAY_S = 0.005
SLOWEST_BPS = 1000  # of a link in a topology file

ACCESS: dict[str, Any] = {
    "dsl": "adsl2plus",
    "cable": "docsis3",
    "fibre": "gpon",
    "server": {"down": "1 Gbit/s", "up": "1 Gbit/s", "delay": "1 ms"},
}
"""Access lines of an imported topology: three that ship by name, and the one that trackers use by default."""

# Letters that Unicode does not take apart into a plain one and a mark.
_LETTERS = str.maketrans(
    {"ß": "ss", "ø": "o", "æ": "ae", "œ": "oe", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i"}
)


@dataclass(frozen=True)
class Source:
    """A file to import: its path as the user gave it (for messages), its name, its folder's name, its bytes.

    `other` is the bytes of the file that belongs to it: of Rocketfuel weights the latencies, and the reverse.
    `other_chosen` is true where the user named it, which says that it holds the latencies.
    """

    where: str
    name: str
    data: bytes
    folder: str = ""
    other: bytes | None = None
    other_where: str = ""
    other_chosen: bool = False

    def wrong(self, what: str, *, line: int = 0, allowed: str = "", mend: str = "") -> UserError:
        """The error that this file is wrong, at a line of it where that is known."""
        where = f"{self.where}:{line}" if line else self.where
        return UserError(Problem(what, where=where, allowed=allowed, mend=mend))


@dataclass(frozen=True)
class Choices:
    """What the user chose; None where the file, or a guess from it, decides."""

    isp: str | None = None
    asn: int | None = None
    name: str | None = None
    capacity_bps: int | None = None
    delay_s: float | None = None
    scale: float = 1.0
    external: External | None = None
    by_city: bool = False
    around: int | None = None
    radius: int | None = None
    limit: int | None = None


@dataclass(frozen=True)
class Imported:
    """A topology as `topology_yaml` takes it, and what was guessed, dropped or renamed."""

    data: dict[str, Any]
    notes: tuple[str, ...]


def topology(source: Source, choices: Choices, description: str, **sections: Any) -> dict[str, Any]:
    """A topology file's mapping: its name (the file's if none is chosen), `sections`, access."""
    name = choices.name or name_of(stem_of(source.name), "imported")
    return {"name": name, "description": description, **sections, "access": dict(ACCESS)}


def text_of(data: bytes) -> str:
    """The text of a file: UTF-8, or UTF-16 with its mark, or else Latin-1, which any bytes are."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", errors="replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def name_of(label: str, fallback: str, room: int = LONGEST_NAME) -> str:
    """A name of at most `room` letters: `Zürich (ETH)` -> `zurich-eth`; `fallback` if nothing is left."""
    plain = unicodedata.normalize("NFKD", label.lower().translate(_LETTERS))
    ascii_only = "".join(letter for letter in plain if not unicodedata.combining(letter))
    name = re.sub(r"[^a-z0-9]+", "-", ascii_only).strip("-") or fallback
    if not name[0].isalpha():
        name = f"n{name}"
    return name[:room].rstrip("-")


def names_of(labels: Sequence[str], taken: Iterable[str] = ()) -> list[str]:
    """A name for each label, all different: the second of two alike ends in `-2`."""
    used = set(taken)
    turns: Counter[str] = Counter()
    names = []
    for number, label in enumerate(labels, start=1):
        wanted = name = name_of(label, f"pop-{number}")
        while name in used:
            turns[wanted] += 1
            ending = f"-{turns[wanted] + 1}"
            name = wanted[: LONGEST_NAME - len(ending)].rstrip("-") + ending
        used.add(name)
        names.append(name)
    return names


def stem_of(file_name: str) -> str:
    """A file's name without the endings that say its format: `1221.weights.intra` -> `1221`."""
    return re.sub(
        r"(\.(gz|bz2|graphml|xml|txt|native|intra|weights|latencies|as-rel2?))+$", "", file_name, flags=re.I
    )


def rate_words(rate_bps: int, scale: float) -> str:
    """A rate before scaling, as notes name it, and what the file has where that is another."""
    before = format_rate(rate_bps)
    if scale == 1:
        return before
    return f"{before} ({format_rate(max(SLOWEST_BPS, rate_bps * scale))} as scaled)"


def one_or_two(there: Any, back: Any) -> Any:
    """A value of a link as a topology file has it: one for both directions, or a list of two."""
    return there if there == back else [there, back]


def number_of(text: Any) -> float | None:
    """The finite number that a text stands for, None where it is none."""
    try:
        number = float(str(text).strip())
    except ValueError:
        return None
    return number if abs(number) < 1e300 else None
