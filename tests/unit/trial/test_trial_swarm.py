"""A swarm's life with small programs for clients: arrivals, progress, being done, deaths, leaving."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.emulation import journal
from testbed.emulation.journal import Journal
from testbed.emulation.processes import Supervisor
from testbed.errors import RunError
from testbed.trial.events import Progress
from testbed.trial.plan import Arrival
from testbed.trial.swarm import PeerStart, Swarm

# What a client says: its configuration file has the host, the socket, and how fast it is done.
CLIENT = """
import json, signal, socket, sys, time

def run(config):
    host, path, steps = json.loads(config.read_text())
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    for step in range(steps + 1):
        done = steps > 0 and step == steps
        message = {"host": host, "fraction": step / max(1, steps), "rate_bps": 8000.0, "completed": done}
        channel.sendto(json.dumps(message).encode(), path)
        time.sleep(0.1)
    time.sleep(1000)
"""


class Lab:
    """A swarm of programs that behave like clients, with what it told of."""

    def __init__(self, folder: Path, supervisor: Supervisor, steps: dict[str, int]) -> None:
        self.folder = folder
        self.notes: list[tuple[str, str]] = []
        self.seconds: list[Progress] = []
        self.supervisor = supervisor
        self.socket = folder / "progress.sock"
        server = supervisor.fork_server("swarm_test_client", folder / "server.log")
        self.swarm = Swarm(
            supervisor,
            server,
            {host: self.peer(host, count) for host, count in steps.items()},
            self.socket,
            lambda event, host: self.notes.append((event, host)),
        )

    def peer(self, host: str, steps: int) -> PeerStart:
        config = self.folder / f"{host}.json"
        config.write_text(json.dumps([host, str(self.socket), steps]))
        return PeerStart("leecher" if "leecher" in host else "seed", config, self.folder / f"{host}.log", "")

    def watch(self, timeout_s: float = 30.0, stagger_s: float = 0.2) -> list[str]:
        arrivals = [Arrival(host, stagger_s * number) for number, host in enumerate(self.swarm.peers)]
        return self.swarm.watch(arrivals, timeout_s, self.seconds.append)


@pytest.fixture
def supervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Supervisor]:
    monkeypatch.setattr(journal, "RUNS", tmp_path / "run")
    monkeypatch.setattr(journal, "NAMESPACES", tmp_path / "netns")
    (tmp_path / "swarm_test_client.py").write_text(CLIENT)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    owner = Journal.create("swarm")
    made = Supervisor(owner)
    yield made
    made.stop_all()
    owner.close()


def test_peers_come_on_schedule_and_the_swarm_ends_when_all_leechers_are_done(
    tmp_path: Path, supervisor: Supervisor
) -> None:
    lab = Lab(tmp_path, supervisor, {"seed": 0, "leecher1": 12, "leecher2": 5})
    assert lab.watch() == []
    started = [host for event, host in lab.notes if event == "peer_started"]
    completed = [host for event, host in lab.notes if event == "peer_completed"]
    assert started == ["seed", "leecher1", "leecher2"]
    assert sorted(completed) == ["leecher1", "leecher2"]
    assert not lab.socket.exists()
    last = lab.seconds[-1]
    assert (last.leechers, last.started, last.done, last.fraction) == (2, 3, 2, 1.0)
    assert last.rate_bps == 0.0
    fractions = [second.fraction for second in lab.seconds]
    assert fractions == sorted(fractions)
    lab.swarm.leave()
    assert supervisor.deaths() == []


def test_each_turn_is_told_how_far_the_swarm_is_until_it_is_over(
    tmp_path: Path, supervisor: Supervisor
) -> None:
    lab = Lab(tmp_path, supervisor, {"seed": 0, "leecher1": 3, "leecher2": 8})
    turns: list[tuple[float, float]] = []
    arrivals = [Arrival(host, 0.0) for host in lab.swarm.peers]
    lab.swarm.watch(arrivals, 30.0, lab.seconds.append, lambda *turn: turns.append(turn))
    assert turns == sorted(turns)
    assert {share for _, share in turns} == {0.0, 0.5}
    assert turns[0][0] < 1.0


def test_leechers_that_are_not_done_in_time_are_named(tmp_path: Path, supervisor: Supervisor) -> None:
    lab = Lab(tmp_path, supervisor, {"leecher1": 2, "leecher2": 10_000})
    assert lab.watch(timeout_s=2.0, stagger_s=0.0) == ["leecher2"]
    assert lab.seconds[-1].done == 1


def test_a_client_that_dies_ends_the_swarm_with_its_name_and_log(
    tmp_path: Path, supervisor: Supervisor
) -> None:
    lab = Lab(tmp_path, supervisor, {"leecher1": 10_000, "leecher2": 10_000})
    (tmp_path / "leecher2.json").write_text("no JSON")
    with pytest.raises(RunError, match="client leecher2 ended with exit code 1") as caught:
        lab.watch()
    assert "JSONDecodeError" in str(caught.value)
    assert not lab.socket.exists()


def test_a_service_that_dies_meanwhile_ends_the_swarm_too(tmp_path: Path, supervisor: Supervisor) -> None:
    lab = Lab(tmp_path, supervisor, {"leecher1": 10_000})
    supervisor.start("portal", ["sh", "-c", "sleep 0.5; echo no more; exit 4"], log=tmp_path / "portal.log")
    with pytest.raises(RunError, match="portal ended with exit code 4") as caught:
        lab.watch()
    assert "no more" in str(caught.value)


def test_a_dead_fork_server_is_named_and_not_its_clients(tmp_path: Path, supervisor: Supervisor) -> None:
    lab = Lab(tmp_path, supervisor, {"leecher1": 10_000, "leecher2": 10_000})
    server = lab.swarm.server.process.pid
    with pytest.raises(RunError, match="fork server was killed by signal SIGKILL"):
        lab.swarm.watch([Arrival("leecher1", 0.0)], 30.0, lambda _: os.kill(server, signal.SIGKILL))
