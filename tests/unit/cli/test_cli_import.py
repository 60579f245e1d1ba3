"""`testbed import` as a user meets it: where the file goes, what is said, what is refused."""

from __future__ import annotations

import bz2
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.spec.topology import load_topology

SNDLIB = """\
?SNDlib native format; type: network; version: 1.0
META (
  unit = MBITPERSEC
)
NODES (
  Berlin ( 13.40 52.52 )
  Bonn ( 7.10 50.73 )
)
LINKS (
  L1 ( Berlin Bonn ) 0.00 0.00 0.00 0.00 ( 155.00 1.00 )
)
"""
KNOWN = (
    "Topology Zoo GraphML; SNDlib native; Rocketfuel weights and latencies; CAIDA AS relationships; "
    "each also packed with gzip or bzip2"
)


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = "from testbed.cli import main; main.run()"
    return subprocess.run(
        [sys.executable, "-c", code, "import", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_file_goes_to_stdout_and_the_notes_to_stderr_and_into_its_head(tmp_path: Path) -> None:
    (tmp_path / "two.txt").write_text(SNDLIB.replace("unit = ", "unit = k"), encoding="utf-8")
    done = command(tmp_path, "two.txt", "--scale", "0.1")
    assert done.returncode == 0
    note = "the unit KMBITPERSEC is not known: Mbit/s taken (--scale 100 for Gbit/s)"
    assert done.stderr == f"two.txt: {note}\n"
    assert done.stdout.startswith(
        "# Imported from two.txt (SNDlib native) by `testbed import`. All capacities are times 0.1.\n"
        f"# - {note}\n"
        "name: two\n"
    )
    (tmp_path / "two.yaml").write_text(done.stdout, encoding="utf-8")
    spec, _ = load_topology(tmp_path / "two.yaml")
    assert spec.isps["two"].links[0].capacity == (15_500_000, 15_500_000)


def test_a_packed_file_goes_into_a_file(tmp_path: Path) -> None:
    (tmp_path / "two.txt.bz2").write_bytes(bz2.compress(SNDLIB.encode()))
    done = command(tmp_path, "two.txt.bz2", "--as", "deutsch", "--asn", "7", "-o", "two.yaml")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "two.yaml: 1 ISP, 2 PoPs, 1 internal link\n"
    spec, _ = load_topology(tmp_path / "two.yaml")
    assert (spec.name, spec.isps["deutsch"].asn) == ("two", 7)


def test_the_latencies_beside_rocketfuel_weights_are_found(tmp_path: Path) -> None:
    (tmp_path / "77.weights.intra").write_text("A,+X1 B,+X2 3\nB,+X2 A,+X1 3\n", encoding="utf-8")
    (tmp_path / "77.latencies.intra").write_text("A,+X1 B,+X2 8\nB,+X2 A,+X1 8\n", encoding="utf-8")
    assert "delay: 8 ms, weight: 3" in command(tmp_path, "77.weights.intra").stdout
    assert "delay: 8 ms, weight: 3" in command(tmp_path, "77.latencies.intra").stdout


def test_latencies_elsewhere_are_named(tmp_path: Path) -> None:
    (tmp_path / "w.txt").write_text("A,+X1 B,+X2 3\nB,+X2 A,+X1 3\n", encoding="utf-8")
    (tmp_path / "l.txt").write_text("A,+X1 B,+X2 8\nB,+X2 A,+X1 8\n", encoding="utf-8")
    assert "delay: 8 ms, weight: 3" in command(tmp_path, "w.txt", "--latencies", "l.txt").stdout


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", f"testbed: f: the file is empty\n  allowed: {KNOWN}\n"),
        (b"hello\n", f"testbed: f: the file is in no format that can be imported\n  allowed: {KNOWN}\n"),
        (b"\x7fELF\0\0", f"testbed: f: the file is binary\n  allowed: {KNOWN}\n"),
        (b"\x1f\x8b\x08\x00", "testbed: f: the archive is broken or cut off: "),
    ],
)
def test_a_file_of_no_known_format_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "f").write_bytes(content)
    done = command(tmp_path, "f")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nothing.txt",), "testbed: nothing.txt: there is no such file\n"),
        ((".",), "testbed: .: is a folder\n  allowed: a file\n"),
        (("two.txt", "--as", "Two"), "testbed: --as: 'Two' is no name\n  allowed: a letter, then"),
        (("two.txt", "--capacity", "10"), "testbed: --capacity: 10 has no unit\n  allowed: a number and"),
        (("two.txt", "--scale", "0"), "testbed: --scale: 0.0 is no factor\n  allowed: 1e-9 to 1e9, such as"),
        (
            ("two.txt", "--around", "3"),
            "testbed: two.txt: --around does not apply to this file, which is SNDlib native\n"
            "  allowed: --as, --asn, --name, --capacity, --delay, --scale\n",
        ),
        (
            ("two.txt", "--around", "ASX"),
            "testbed: --around: 'ASX' is no number of an AS\n  allowed: such as 3356\n",
        ),
        (
            ("two.txt", "--latencies", "./two.txt"),
            "testbed: --latencies: two.txt is the file to import itself\n"
            "  allowed: the file with the latencies\n",
        ),
        (
            ("two.txt", "-o", "none/two.yaml"),
            "testbed: -o: there is no folder none\n  to mend it: mkdir -p none\n",
        ),
        (("two.txt", "-o", "."), "testbed: -o: . is a folder\n  allowed: a file\n"),
    ],
)
def test_a_wrong_argument_is_refused(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    (tmp_path / "two.txt").write_text(SNDLIB, encoding="utf-8")
    done = command(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(message)


def test_an_as_may_be_named_as_people_write_it(tmp_path: Path) -> None:
    (tmp_path / "rel.txt").write_text("1|2|0\n", encoding="utf-8")
    first, *others = (command(tmp_path, "rel.txt", "--around", asn).stdout for asn in ("1", "AS1", "as 1"))
    assert "asn: 2" in first
    assert others == [first, first]
