"""Which run a verb talks to, and what it says where it can't."""

from __future__ import annotations

from pathlib import Path

import pytest
import small_topology
from running_network import RunningNetwork, running
from verbs import verb

from testbed.cli.living import chosen
from testbed.emulation.journal import Journal, RunInfo
from testbed.errors import RunError, UserError

START_ONE = (
    "\n  to mend it: start one in another terminal: sudo .venv/bin/testbed shell EXPERIMENT, or testbed run"
)


def run(tag: str, *, alive: bool = True) -> RunInfo:
    return RunInfo(tag, Path("/run/testbed") / tag, f"of-{tag}", 1, 0.0, "root", alive, ())


def test_the_only_living_run_is_meant_unless_another_is_named() -> None:
    found = [run("tb1", alive=False), run("tb2")]
    assert chosen(found, "").tag == "tb2"
    assert chosen([*found, run("tb3")], "tb3").tag == "tb3"


def test_of_several_runs_one_has_to_be_named() -> None:
    with pytest.raises(UserError) as caught:
        chosen([run("tb1"), run("tb2"), run("tb3", alive=False)], "")
    assert str(caught.value) == (
        "--run: 2 networks run; say which is meant\n  allowed: tb1 (of-tb1), tb2 (of-tb2)"
    )


def test_where_nothing_runs_it_says_how_to_start_something() -> None:
    with pytest.raises(RunError) as caught:
        chosen([run("tb1", alive=False)], "")
    assert str(caught.value) == "no network runs on this machine" + START_ONE


@pytest.mark.parametrize(
    ("tag", "words"),
    [
        ("tb9", "--run: there is no run 'tb9'\n  allowed: tb2 (of-tb2)"),
        ("tb1", "--run: run tb1 is dead\n  allowed: tb2 (of-tb2)"),
    ],
)
def test_a_run_that_is_not_there_or_dead_is_wrong_input(tag: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        chosen([run("tb1", alive=False), run("tb2")], tag)
    assert str(caught.value) == words


def test_an_unknown_run_where_nothing_runs_says_how_to_start_one() -> None:
    with pytest.raises(UserError) as caught:
        chosen([], "tb9")
    assert str(caught.value) == ("--run: there is no run 'tb9'\n  allowed: none, as nothing runs" + START_ONE)


def test_a_verb_goes_to_the_run_that_is_named(net: RunningNetwork, place: Path) -> None:
    with running(small_topology.network(place), "other") as other:
        other.fabric.port_is("left.one", "left.one--left.two", down=True)
        assert verb("link").code == 2
        assert "down" not in verb("link", "--run", net.tag).stdout
        assert "down" in verb("link", "--run", other.tag).stdout


@pytest.mark.parametrize("name", ["link", "counters", "meter"])
def test_only_root_may_look(name: str, net: RunningNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    done = verb(name, "--run", net.tag)
    assert done.code == 1
    assert done.error.endswith("to mend it: put sudo before the command")


def test_a_run_that_is_being_built_has_no_controller_yet(place: Path) -> None:
    assert place.exists()
    journal = Journal.create("young")
    done = verb("link")
    assert done.code == 1
    assert done.error == (
        f"run {journal.tag} (young) is still being built\n  to mend it: wait for its prompt, then once more"
    )
    journal.close()


def test_a_controller_that_was_killed_is_told_from_one_that_was_stopped(place: Path) -> None:
    with running(small_topology.network(place)) as net:
        socket = net.journal.folder / "controller.sock"
        socket.rename(socket.with_name("moved"))
        done = verb("counters")
        assert done.code == 1
        assert done.error == f"run {net.tag} (small) is ending, or its controller was stopped"
        socket.touch()
        done = verb("counters")
        assert done.code == 1
        assert f"the controller of run {net.tag} (small) does not answer: Connection refused" in done.error


def test_what_the_controller_refuses_is_wrong_input_where_no_network_could_do_it(
    net: RunningNetwork,
) -> None:
    done = verb("routes", "left.one", "192.0.2.1")
    assert (done.code, done.error) == (2, "no PoP, host or address '192.0.2.1'")
    (net.journal.folder / "controller.token").write_text("another word")
    done = verb("link", "left.one--left.two", "--down")
    assert done.code == 1
    assert "token" in done.error
