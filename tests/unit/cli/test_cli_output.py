"""The file behind `-o`: whole or not at all, and the same answer of every verb to a path that can't be."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from testbed.cli.output import write_output
from testbed.errors import UserError

MEND = "\n  to mend it: name another file: -o FILE"
TWO_ROUTERS = "A,+X1 B,+X2 3\nB,+X2 A,+X1 3\n"
ONE_POP = "name: x\nisps: {x: {asn: 1, pops: {a: {}}}}\n"


def refusal(target: Path) -> str:
    with pytest.raises(UserError) as caught:
        write_output(target, "text")
    return str(caught.value)


def test_text_and_bytes_are_written_and_nothing_else_is_left(tmp_path: Path) -> None:
    write_output(tmp_path / "text", "é\n")
    write_output(tmp_path / "bytes", b"\x00")
    assert (tmp_path / "text").read_bytes() == "é\n".encode()
    assert (tmp_path / "bytes").read_bytes() == b"\x00"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bytes", "text"]


def test_a_new_file_has_the_permissions_of_any_new_file_and_a_replaced_one_keeps_its_own(
    tmp_path: Path,
) -> None:
    (tmp_path / "plain").touch()
    write_output(tmp_path / "new", "text")
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "plain").stat().st_mode
    (tmp_path / "plain").chmod(0o640)
    write_output(tmp_path / "plain", "text")
    assert (tmp_path / "plain").stat().st_mode & 0o777 == 0o640


def test_a_reader_of_the_old_file_keeps_it_whole(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with (tmp_path / "file").open() as reader:
        write_output(tmp_path / "file", "new")
        assert reader.read() == "old"
    assert (tmp_path / "file").read_text() == "new"


def test_a_symbolic_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to("file")
    write_output(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "new"


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write_output(pipe, "text")
    reader.join()
    assert read == ["text"]
    assert pipe.is_fifo()


def test_a_path_that_cannot_be_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    inside, long = tmp_path / "file" / "x", tmp_path / ("x" * 300)
    assert refusal(tmp_path) == f"-o: {tmp_path} is a folder\n  allowed: a file"
    folder = tmp_path / "no"
    assert refusal(folder / "x") == f"-o: there is no folder {folder}\n  to mend it: mkdir -p {folder}"
    assert refusal(inside) == f"-o: {inside} can't be written: Not a directory{MEND}"
    assert refusal(long) == f"-o: {long} can't be written: File name too long{MEND}"
    assert refusal(Path("/proc/x")) == f"-o: /proc/x can't be written: No such file or directory{MEND}"
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_file_stays(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "file").chmod(0o444)
    assert refusal(tmp_path / "file").endswith(f"can't be written: Permission denied{MEND}")
    assert (tmp_path / "file").read_text() == "old"


def test_a_full_disk_is_no_wrong_path() -> None:
    with pytest.raises(OSError, match="No space left"):
        write_output(Path("/dev/full"), "text")


@pytest.mark.parametrize(
    "words",
    [
        "generate ring -o no/x.yaml",
        "import 7.weights.intra -o no/x.yaml",
        "graph x.yaml -o no/x.svg",
        "schema -o no/x.json",
    ],
)
def test_every_verb_says_the_same_of_a_folder_that_is_not_there(words: str, tmp_path: Path) -> None:
    (tmp_path / "7.weights.intra").write_text(TWO_ROUTERS)
    (tmp_path / "x.yaml").write_text(ONE_POP)
    code = "from testbed.cli import main; main.run()"
    done = subprocess.run(
        [sys.executable, "-c", code, *words.split()],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("testbed: -o: there is no folder no\n  to mend it: mkdir -p no\n")
