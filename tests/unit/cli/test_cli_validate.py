"""`testbed validate` and `testbed schema` as a user calls them: streams, exit codes, JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import small_topology

ROOT = Path(__file__).parents[3]
COMMAND = [sys.executable, "-c", "from testbed.cli.main import run; run()"]


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, cwd=ROOT
    )


def test_good_files_get_a_line_each_that_says_what_they_hold(tmp_path: Path) -> None:
    path = small_topology.write(tmp_path)
    done = command("validate", path, "experiments/quickstart.yaml")
    assert done.returncode == 0
    assert done.stderr == ""
    assert done.stdout == (
        f"{path}: a topology of 3 ISPs, 5 PoPs, 4 links (2 internal, 2 customer-provider)\n"
        "experiments/quickstart.yaml: an experiment of 2 trials with 64 leechers\n"
    )


def test_a_warning_goes_to_stderr_and_changes_no_exit_code(tmp_path: Path) -> None:
    path = small_topology.write(
        tmp_path, small_topology.TEXT.replace("capacity: 50 Mbit/s", "capacity: 50 kbit/s")
    )
    done = command("validate", path)
    assert done.returncode == 0
    assert done.stderr == (
        f"{path}:9: warning: the link between hub and edge is very slow: 50 kbit/s\n"
        "  to mend it: check the unit\n"
    )


def test_json_has_every_file_with_what_it_holds_or_what_is_wrong(tmp_path: Path) -> None:
    good = small_topology.write(tmp_path)
    bad = tmp_path / "bad.yaml"
    bad.write_text("name: bad\n")
    done = command("validate", "--json", good, bad)
    assert done.returncode == 2
    first, second = json.loads(done.stdout)
    assert first == {
        "file": str(good),
        "kind": "topology",
        "isps": 3,
        "pops": 5,
        "links": {"internal": 2, "customer-provider": 2, "peer-peer": 0},
        "ixps": 0,
        "without_route": {"count": 0, "first": []},
        "warnings": [],
    }
    assert second["file"] == str(bad)
    assert second["errors"] == [{"what": "'isps' is missing", "where": f"{bad}:1", "allowed": "", "mend": ""}]
    assert "'isps' is missing" in done.stderr


def test_of_several_files_each_wrong_one_gets_a_head_and_its_errors_in_turn(tmp_path: Path) -> None:
    good = small_topology.write(tmp_path)
    bad = tmp_path / "bad.yaml"
    bad.write_text("name: bad\n")
    done = command("validate", bad, good, "", tmp_path)
    assert done.returncode == 2
    assert done.stdout.startswith(f"{good}: a topology of")
    assert done.stderr == (
        f"{bad}: 1 error\n"
        f"{bad}:1: 'isps' is missing\n"
        "'': 1 error\n"
        "an empty file name\n"
        "  allowed: topology and experiment files\n"
        f"{tmp_path}: 1 error\n"
        f"{tmp_path}: this is a folder, and a file is needed\n"
        f"  to mend it: name files in it, such as {tmp_path}/*.yaml\n"
        "testbed: 3 of 4 files have errors\n"
    )


def test_addresses_that_run_out_are_said_with_the_line_of_the_isps(tmp_path: Path) -> None:
    path = tmp_path / "full.yaml"
    path.write_text(
        "name: full\nisps:\n  a: {asn: 1, prefix: 10.0.0.0/8, pops: {x: {}}}\n  b: {asn: 2, pops: {x: {}}}\n"
    )
    done = command("validate", path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"testbed: {path}:2: no /16 of 10.0.0.0/8 is left for ISP b\n")


def test_a_reader_that_leaves_early_is_no_error() -> None:
    line = " ".join([*(f"'{part}'" for part in COMMAND), "schema", "|", "head", "-c", "10"])
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.stdout == '{\n  "$schem'[:10]
    assert "Traceback" not in done.stderr


def test_the_schema_is_printed_or_written(tmp_path: Path) -> None:
    output = tmp_path / "schema.json"
    done = command("schema", "experiment", "-o", output)
    assert (done.returncode, done.stdout) == (0, "")
    assert json.loads(output.read_text()) == json.loads(command("schema", "experiment").stdout)
    refused = command("schema", "-o", tmp_path)
    assert (refused.returncode, refused.stderr) == (
        2,
        f"testbed: -o: {tmp_path} is a folder\n  allowed: a file\n",
    )
