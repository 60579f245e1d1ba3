"""The run's processes for real: deaths and their causes, clean ends, and nothing that outlives its owner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import traces

from testbed.emulation.journal import NAMESPACES, RUNS, Journal, remove_run
from testbed.emulation.processes import Limits, Process, Supervisor
from testbed.errors import RunError

pytestmark = [
    pytest.mark.emulation,
    pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="namespaces need root"),
]

LIMITS = (
    "import resource as r;"
    "print([r.getrlimit(kind)[0] for kind in (r.RLIMIT_CORE, r.RLIMIT_NOFILE, r.RLIMIT_DATA)], flush=True)"
)
FORKED = """
import os, signal, sys, time
from pathlib import Path

def run(config):
    words = config.read_text().split()
    if words[0] == "python":
        exec(config.read_text().partition(" ")[2], {})
        return 0
    if words[0] == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("I am", words, "in", os.readlink("/proc/self/ns/net"), flush=True)
    if words[0] == "exit":
        return int(words[1])
    if words[0] == "raise":
        raise ValueError(words[1])
    time.sleep(1000)
"""


@pytest.fixture
def journal() -> Iterator[Journal]:
    made = Journal.create("processes")
    try:
        yield made
    finally:
        made.close()
        assert traces.of_run(made.tag) == []


@pytest.fixture
def supervisor(journal: Journal) -> Iterator[Supervisor]:
    made = Supervisor(journal)
    yield made
    made.stop_all()


@pytest.fixture
def namespace(journal: Journal) -> str:
    name = f"{journal.tag}.somewhere"
    journal.namespace(name)
    subprocess.run(["ip", "netns", "add", name], check=True)
    return name


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that a fork server can import."""
    (tmp_path / "forked_program.py").write_text(FORKED)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    return "forked_program"


def config(folder: Path, words: str) -> Path:
    path = folder / f"{words.replace(' ', '-')}.txt"
    if not path.exists():  # a child may be reading it
        path.write_text(words)
    return path


def next_deaths(supervisor: Supervisor, count: int, timeout_s: float = 10.0) -> list[Process]:
    found: list[Process] = []
    until = time.monotonic() + timeout_s
    while len(found) < count:
        assert time.monotonic() < until, f"{len(found)} of {count} died"
        found += supervisor.deaths(0.1)
    return found


def next_death(supervisor: Supervisor) -> Process:
    return next_deaths(supervisor, 1)[0]


def wait_for(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


# --- programs --------------------------------------------------------------------------------------------


def test_a_death_has_its_exit_code_and_the_end_of_its_log(supervisor: Supervisor, tmp_path: Path) -> None:
    log = tmp_path / "poet.log"
    supervisor.start("poet", ["sh", "-c", "seq 100; echo last words >&2; exit 3"], log=log)
    death = next_death(supervisor)
    assert (death.name, death.exit_code) == ("poet", 3)
    error = death.death()
    assert str(error).startswith("poet ended with exit code 3\n")
    assert "  | 100\n  | last words\n" in str(error)
    assert "  | 10\n" not in str(error)
    assert str(log) in error.mend
    assert supervisor.deaths() == []


def test_a_death_is_known_at_once(supervisor: Supervisor, tmp_path: Path) -> None:
    delays_s = []
    # The best of three: what a busy machine adds is not ours.
    for number in range(3):
        process = supervisor.start(f"sleeper{number}", ["sleep", "1000"], log=tmp_path / "log")
        os.kill(process.pid, signal.SIGKILL)
        killed = time.monotonic()
        death = next_death(supervisor)
        delays_s.append(time.monotonic() - killed)
        assert (death.name, death.exit_code) == (f"sleeper{number}", -signal.SIGKILL)
    assert f"{death.name} was killed by signal SIGKILL" in str(death.death())
    assert min(delays_s) < 0.1


def test_a_program_that_does_not_exist_is_an_error_that_names_it(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match="ghost can't be started"):
        supervisor.start("ghost", ["/no/such/program"], log=tmp_path / "log")


def test_stop_asks_first_and_kills_who_does_not_listen(supervisor: Supervisor, tmp_path: Path) -> None:
    polite = supervisor.start(
        "polite",
        ["sh", "-c", "trap 'echo bye; exit 0' TERM; while :; do sleep 0.05; done"],
        log=tmp_path / "p",
    )
    deaf = supervisor.start("deaf", ["sh", "-c", "trap '' TERM; echo up; sleep 1000"], log=tmp_path / "d")
    wait_for(lambda: "up" in deaf.tail())
    killed = supervisor.stop([polite, deaf], grace_s=1.0)
    assert killed == [deaf]
    assert (polite.exit_code, deaf.exit_code) == (0, -signal.SIGKILL)
    assert polite.tail() == "bye"
    # It was asked to: that is no death to tell of.
    assert supervisor.deaths() == []
    assert supervisor.stop([polite, deaf]) == []


def test_a_killed_process_is_no_death_and_another_that_dies_meanwhile_is_one(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    killed, stopped, dying, dead = (
        supervisor.start(name, words, log=tmp_path / name)
        for name, words in (
            ("killed", ["sleep", "1000"]),
            ("stopped", ["sh", "-c", "trap 'sleep 0.3; exit 0' TERM; echo ready; sleep 1000 & wait"]),
            ("dying", ["sleep", "1000"]),
            ("dead", ["true"]),
        )
    )
    wait_for(lambda: (tmp_path / "stopped").read_text() == "ready\n")
    os.waitid(os.P_PIDFD, dead.pidfd, os.WEXITED | os.WNOWAIT)
    supervisor.kill(dead)
    supervisor.kill(killed)
    assert killed.exit_code == -signal.SIGKILL
    supervisor.kill(killed)
    os.kill(dying.pid, signal.SIGKILL)
    assert supervisor.stop([stopped]) == []
    assert supervisor.deaths(5.0) == [dying]
    assert supervisor.deaths() == []


def test_a_program_runs_in_the_namespace_that_it_was_given(
    supervisor: Supervisor, namespace: str, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    process = supervisor.start("links", ["ip", "-o", "link"], log=log, namespace=namespace)
    assert next_death(supervisor) is process
    assert [line.split(": ")[1] for line in log.read_text().splitlines()] == ["lo"]


def test_everything_ends_with_the_supervisor_even_when_it_is_killed(module: str, tmp_path: Path) -> None:
    program = f"""
        import sys, time
        from pathlib import Path
        from testbed.emulation.journal import Journal
        from testbed.emulation.processes import Supervisor
        journal = Journal.create("killed")
        supervisor = Supervisor(journal)
        folder = Path({str(tmp_path)!r})
        started = supervisor.start("sleeper", ["sleep", "1000"], log=folder / "a")
        server = supervisor.fork_server({module!r}, folder / "b")
        (folder / "c.txt").write_text("sleep")
        forked = supervisor.fork(server, "forked", folder / "c.txt", log=folder / "c")
        print(journal.tag, started.pid, server.process.pid, forked.pid, flush=True)
        time.sleep(1000)
    """
    owner = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    tag, *pids = owner.stdout.readline().split()
    try:
        assert all(alive(int(pid)) for pid in pids)
        owner.kill()
        owner.wait()
        wait_for(lambda: not any(alive(int(pid)) for pid in pids), 3)
    finally:
        remove_run(tag, RUNS / tag)
    assert traces.of_run(tag) == []


# --- limits ----------------------------------------------------------------------------------------------


def test_a_program_has_the_limits_that_it_was_given_and_no_core_dump(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    limits = Limits(open_files=99, memory_bytes=2**30)
    supervisor.start("limited", [sys.executable, "-c", LIMITS], log=log, limits=limits)
    assert next_death(supervisor).exit_code == 0
    assert log.read_text() == f"[0, 99, {2**30}]\n"


def test_who_wants_more_memory_than_allowed_dies_and_says_so(supervisor: Supervisor, tmp_path: Path) -> None:
    program = "block = bytearray(2**28); print(len(block))"
    for memory_bytes, code, last in ((2**27, 1, "MemoryError"), (2**29, 0, str(2**28))):
        log = tmp_path / str(memory_bytes)
        limits = Limits(memory_bytes=memory_bytes)
        supervisor.start("glutton", [sys.executable, "-c", program], log=log, limits=limits)
        death = next_death(supervisor)
        assert (death.exit_code, death.tail().splitlines()[-1]) == (code, last)


def test_a_log_without_end_keeps_its_beginning_and_its_end_and_stays_small(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    log, most_bytes = tmp_path / "log", 20_000
    count = "i=0; while :; do i=$((i+1)); echo line $i; done"
    talker = supervisor.start("talker", ["sh", "-c", count], log=log, limits=Limits(log_bytes=most_bytes))

    def cut_twice() -> bool:
        supervisor.deaths(0.01)
        heads = [line for line in log.read_text().splitlines() if line.endswith("to spare the disk]")]
        return len(heads) == 1 and int(talker.tail().splitlines()[-2].removeprefix("line ")) > 100_000

    wait_for(cut_twice, 60)
    supervisor.stop([talker])
    talker.trim_log()
    first, *_, last = log.read_text().splitlines()
    assert first == "line 1"
    assert int(last.removeprefix("line ")) > 100_000
    assert log.stat().st_size < most_bytes


def test_forked_programs_have_the_limits_of_their_server(
    supervisor: Supervisor, module: str, tmp_path: Path
) -> None:
    server = supervisor.fork_server(module, tmp_path / "server.log", Limits(open_files=77))
    path = tmp_path / "limits.txt"
    path.write_text(f"python {LIMITS}")
    child = supervisor.fork(server, "child", path, log=tmp_path / "log")
    assert next_death(supervisor) is child
    assert child.exit_code == 0, child.tail()
    assert child.tail().splitlines()[-1] == f"[0, 77, {Limits().memory_bytes}]"


# --- ends ------------------------------------------------------------------------------------------------


def test_all_processes_end_soon_even_those_that_do_not_listen(
    supervisor: Supervisor, module: str, tmp_path: Path
) -> None:
    server = supervisor.fork_server(module, tmp_path / "server.log")
    deaf = [
        supervisor.fork(server, f"deaf{n}", config(tmp_path, "deaf"), log=tmp_path / f"{n}.log")
        for n in range(3)
    ]
    deaf.append(
        supervisor.start("deaf", ["sh", "-c", "trap '' TERM; echo in; sleep 1000"], log=tmp_path / "d.log")
    )
    wait_for(lambda: all("in" in process.tail() for process in deaf))
    start = time.monotonic()
    supervisor.stop_all()
    # Two seconds is the promise, and a busy machine needs some more.
    assert time.monotonic() - start < 4
    assert [process.exit_code for process in deaf] == [-signal.SIGKILL] * 4
    assert not any(alive(pid) for pid in (server.process.pid, *(process.pid for process in deaf)))


def test_a_process_ends_with_its_sockets_and_devices(
    supervisor: Supervisor, namespace: str, tmp_path: Path
) -> None:
    """The supervisor borrows them for a moment; none may stay with it."""
    program = """
        import fcntl, os, socket, struct, time
        sockets = [socket.socket(socket.AF_PACKET, socket.SOCK_RAW) for _ in range(20)]
        taps = [os.open("/dev/net/tun", os.O_RDWR) for _ in range(5)]
        for number, tap in enumerate(taps):
            fcntl.ioctl(tap, 0x400454CA, struct.pack("16sH22x", b"tap%d" % number, 0x1002))
        print("up", flush=True)
        time.sleep(1000)
    """
    arguments = [sys.executable, "-c", textwrap.dedent(program)]
    process = supervisor.start("switch", arguments, log=tmp_path / "log", namespace=namespace)
    wait_for(lambda: process.exit_code is None and process.tail() == "up")
    assert len(traces.interfaces(namespace)) == 6
    supervisor.stop_all()
    assert process.exit_code == -signal.SIGTERM
    assert traces.interfaces(namespace) == ["lo"]


# --- forked programs -------------------------------------------------------------------------------------


def test_a_forked_program_has_its_own_namespace_log_and_exit_code(
    supervisor: Supervisor, module: str, namespace: str, tmp_path: Path
) -> None:
    server = supervisor.fork_server(module, tmp_path / "server.log")
    paths = {
        words: tmp_path / f"{words.replace(' ', '-')}.log" for words in ("exit 0", "exit 7", "raise Oops")
    }
    for words, log in paths.items():
        supervisor.fork(server, words, config(tmp_path, words), log=log, namespace=namespace)
    deaths = next_deaths(supervisor, len(paths))
    assert {death.name: death.exit_code for death in deaths} == {"exit 0": 0, "exit 7": 7, "raise Oops": 1}
    inode = Path(f"/run/netns/{namespace}").stat().st_ino
    for log in paths.values():
        assert f"net:[{inode}]" in log.read_text()
    assert "I am ['exit', '7']" in paths["exit 7"].read_text()
    assert "ValueError: Oops" in next(d for d in deaths if d.name == "raise Oops").tail()
    assert (tmp_path / "server.log").read_text() == ""


def test_hundreds_of_programs_start_in_namespaces_of_their_own(
    supervisor: Supervisor, journal: Journal, module: str, tmp_path: Path
) -> None:
    names = [f"{journal.tag}.h{number}" for number in range(200)]
    for name in names:
        journal.namespace(name)
    lines = "".join(f"netns add {name}\n" for name in names)
    subprocess.run(["ip", "-batch", "-"], input=lines, text=True, check=True)
    server = supervisor.fork_server(module, tmp_path / "server.log")
    start = time.monotonic()
    path = config(tmp_path, "sleep")
    started = [
        supervisor.fork(server, name, path, log=tmp_path / f"{name}.log", namespace=name) for name in names
    ]
    wait_for(lambda: all("I am" in process.tail() for process in started), 60)
    # Five seconds is the promise.
    assert time.monotonic() - start < 15
    for process in started:
        assert Path(f"/proc/{process.pid}/ns/net").stat().st_ino == (NAMESPACES / process.name).stat().st_ino
    assert supervisor.deaths() == []


def test_a_killed_forked_program_is_told_from_one_that_was_stopped(
    supervisor: Supervisor, module: str, tmp_path: Path
) -> None:
    server = supervisor.fork_server(module, tmp_path / "server.log")
    first, second = (
        supervisor.fork(server, name, config(tmp_path, "sleep"), log=tmp_path / name)
        for name in ("one", "two")
    )
    os.kill(first.pid, signal.SIGKILL)
    death = next_death(supervisor)
    assert (death.name, death.exit_code) == ("one", -signal.SIGKILL)
    assert supervisor.stop([second]) == []
    assert second.exit_code == -signal.SIGTERM
    assert supervisor.deaths() == []


def test_a_dead_fork_server_takes_its_children_along_and_the_error_names_it(
    supervisor: Supervisor, module: str, tmp_path: Path
) -> None:
    server = supervisor.fork_server(module, tmp_path / "server.log")
    children = [
        supervisor.fork(server, f"child{n}", config(tmp_path, "sleep"), log=tmp_path / f"{n}.log")
        for n in range(3)
    ]
    os.kill(server.process.pid, signal.SIGKILL)
    assert next_death(supervisor).name == "fork server"
    wait_for(lambda: not any(alive(child.pid) for child in children))


def test_forking_from_a_dead_server_says_how_it_died(
    supervisor: Supervisor, module: str, tmp_path: Path
) -> None:
    server = supervisor.fork_server(module, tmp_path / "server.log")
    os.kill(server.process.pid, signal.SIGKILL)
    with pytest.raises(RunError, match="fork server was killed by signal SIGKILL"):
        supervisor.fork(server, "child", config(tmp_path, "sleep"), log=tmp_path / "child.log")


def test_a_fork_server_that_can_not_import_its_module_says_why(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    server = supervisor.fork_server("no_such_module", tmp_path / "server.log")
    with pytest.raises(RunError, match="no_such_module") as caught:
        supervisor.fork(server, "child", config(tmp_path, "sleep"), log=tmp_path / "child.log")
    assert "fork server ended with exit code 1" in str(caught.value)


# --- the journal -----------------------------------------------------------------------------------------


def test_what_a_run_calls_for_a_moment_is_found_by_its_tag(journal: Journal) -> None:
    called = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    wait_for(lambda: called.pid in traces.processes(journal.tag))
    assert journal.close().processes == 1
    assert called.wait(5) == -signal.SIGTERM
    assert "TESTBED_RUN" not in os.environ


def test_closing_a_journal_ends_processes_that_nobody_supervises(journal: Journal, namespace: str) -> None:
    marked = subprocess.Popen(
        ["sleep", "1000"], env={**os.environ, "TESTBED_RUN": journal.tag}, start_new_session=True
    )
    inside = subprocess.Popen(["ip", "netns", "exec", namespace, "sleep", "1000"], start_new_session=True)
    other = subprocess.Popen(["sleep", "1000"], env={**os.environ, "TESTBED_RUN": "another"})
    try:
        wait_for(lambda: len(traces.processes(journal.tag)) > 0)
        cleaned = journal.close()
        assert (marked.wait(5), inside.wait(5)) == (-signal.SIGTERM, -signal.SIGTERM)
        assert other.poll() is None
        assert (cleaned.processes, cleaned.namespaces) == (2, 1)
    finally:
        other.kill()
        other.wait()
