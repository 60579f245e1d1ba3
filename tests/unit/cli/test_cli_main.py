"""What the command promises to scripts: exit codes, one message on stderr, a quick help."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = "from testbed.cli import main\n{verb}\nmain.run()"


def command(*arguments: str, verb: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, with one more verb `act` whose body is given."""
    added = f"@main.app.command('act')\ndef act() -> None:\n    {verb}\n" if verb else ""
    code = PROGRAM.format(verb=added)
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )


USER_ERROR = (
    "from testbed.errors import Problem, UserError; "
    "raise UserError(Problem('no unit', where='a.yaml:3', mend='add one'))"
)
RUN_ERROR = "from testbed.errors import RunError; raise RunError('the tracker died', tail='bind failed')"


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (USER_ERROR, 2, "testbed: a.yaml:3: no unit\n  to mend it: add one\n"),
        (RUN_ERROR, 1, "testbed: the tracker died\n  | bind failed\n"),
        (
            "import errno; raise OSError(errno.ENOSPC, 'No space left on device', 'a/b')",
            1,
            "testbed: [Errno 28] No space left on device: 'a/b'\n"
            "  to mend it: the disk is full: make room, then go on\n",
        ),
        ("raise KeyboardInterrupt", 130, "testbed: stopped by Ctrl-C\n"),
    ],
)
def test_an_error_is_one_message_on_stderr_and_its_exit_code(body: str, code: int, words: str) -> None:
    done = command("act", verb=body)
    assert (done.returncode, done.stderr, done.stdout) == (code, words, "")


def test_debug_shows_the_traceback_and_keeps_the_exit_code() -> None:
    done = command("--debug", "act", verb=USER_ERROR)
    assert done.returncode == 2
    assert "Traceback" in done.stderr
    assert "no unit" in done.stderr


def test_a_bug_shows_its_traceback_without_being_asked() -> None:
    done = command("act", verb="{}['nothing']")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "KeyError" in done.stderr


def test_an_unknown_verb_or_option_is_wrong_input() -> None:
    for arguments in (["frobnicate"], ["doctor", "--frobnicate"]):
        done = command(*arguments)
        assert done.returncode == 2
        assert "frobnicate" in done.stderr


def test_the_version_is_printed_on_stdout() -> None:
    from testbed import __version__

    done = command("--version")
    assert (done.returncode, done.stdout) == (0, f"testbed {__version__}\n")


def test_every_verb_has_a_help_with_an_example() -> None:
    from testbed.cli.main import app

    names = [command.name for command in app.registered_commands]
    assert "doctor" in names
    for name in names:
        assert name is not None
        done = command(name, "--help")
        assert done.returncode == 0
        assert "Example" in done.stdout, name


def test_help_imports_no_heavy_library() -> None:
    heavy = [
        "numpy",
        "polars",
        "matplotlib",
        "scipy",
        "numba",
        "libtorrent",
        "mininet",
        "ryu",
        "aiohttp",
        "pydantic",
    ]
    code = (
        f"import sys\nfrom testbed.cli import main\nprint([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_signal_that_comes_in_a_destructor_ends_the_command_all_the_same() -> None:
    code = """
import os, signal, sys, time
from testbed.cli import main

class Dying:
    def __del__(self):
        os.kill(os.getpid(), signal.{name})
        for _ in range(1000):
            pass

def verb():
    Dying()
    time.sleep(20)

main.app = verb
main.run()
"""
    for name, said in (("SIGTERM", "SIGTERM"), ("SIGINT", "Ctrl-C")):
        done = subprocess.run(
            [sys.executable, "-c", code.format(name=name)], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (130, f"testbed: stopped by {said}\n")
