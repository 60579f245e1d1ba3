"""What links were set to over a trial's time, from its events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import small_topology

from testbed.topology.model import Network
from testbed.trial.history import History, Move, read_history

SECOND = 10**9
BORDER = "left.one--carrier.hub"
MBIT = 1_000_000


@pytest.fixture
def network(tmp_path: Path) -> Network:
    return small_topology.network(tmp_path)


def noted(at_s: float | None, kind: str, **fields: Any) -> dict[str, Any]:
    t_ns = None if at_s is None else round(at_s * SECOND)
    return {"t_ns": t_ns, "event": "controller", "kind": kind, **fields}


def change(at_s: float | None, forward: dict[str, Any], backward: dict[str, Any]) -> dict[str, Any]:
    return noted(at_s, "change", link=BORDER, forward=forward, backward=backward)


def rate(mbit_s: int) -> dict[str, Any]:
    return {"rate_bps": mbit_s * MBIT, "delay_s": 0.002, "loss": 0.0}


def test_without_events_links_are_as_they_were_built(network: Network) -> None:
    history = read_history(network, [{"t_ns": 0, "event": "trial_started"}, noted(None, "ready")])
    built = network.link_by_id[BORDER].direction("left.one")
    assert history.settings(BORDER, "left.one") == ((0, built),)
    assert history.mean_rate_bps(BORDER, "left.one", 0, 10 * SECOND) == 5 * MBIT
    assert history.failed == ((0, frozenset()),)
    assert (history.moves, history.uncounted) == ((), ())


def test_each_direction_has_its_settings_from_when_they_came_into_force(network: Network) -> None:
    history = read_history(network, [change(4, rate(1), rate(5)), change(8, rate(3), rate(5))])
    settings = history.settings(BORDER, "left.one")
    assert [(at_ns, way.rate_bps) for at_ns, way in settings] == [
        (0, 5 * MBIT),
        (4 * SECOND, MBIT),
        (8 * SECOND, 3 * MBIT),
    ]
    parts = list(history.between(BORDER, "left.one", 2 * SECOND, 6 * SECOND))
    assert [(seconds, way.rate_bps) for seconds, way in parts] == [(2.0, 5 * MBIT), (2.0, MBIT)]
    assert history.mean_rate_bps(BORDER, "left.one", 2 * SECOND, 6 * SECOND) == 3 * MBIT
    assert history.mean_rate_bps(BORDER, "left.one", 9 * SECOND, 9 * SECOND) == 3 * MBIT
    assert [way.rate_bps for _, way in history.settings(BORDER, "carrier.hub")][-1] == 5 * MBIT


def test_what_was_changed_before_the_start_holds_from_the_start(network: Network) -> None:
    history = read_history(network, [change(None, rate(1), rate(2))])
    assert [(at_ns, way.rate_bps) for at_ns, way in history.settings(BORDER, "left.one")] == [(0, MBIT)]


@pytest.mark.parametrize(("before", "after"), [(5, 1), (1, 5)])
def test_around_a_change_the_faster_rate_counts(network: Network, before: int, after: int) -> None:
    history = read_history(network, [change(0, rate(before), rate(5)), change(4, rate(after), rate(5))])
    # Half a second more of the faster one than the events say.
    bits = history.most_bits(BORDER, "left.one", 0, 8 * SECOND)
    assert bits == pytest.approx(4 * (before + after) * MBIT + 0.5 * 4 * MBIT)
    assert history.most_bits(BORDER, "left.one", 6 * SECOND, 8 * SECOND) == 2 * after * MBIT


def test_routes_and_cuts_are_known_with_when_switches_followed(network: Network) -> None:
    history = read_history(
        network,
        [
            noted(None, "routes", failed=[]),
            noted(3, "link", link=BORDER, state="down"),
            noted(3.1, "routes", failed=[]),  # of a meter, say
            noted(3.5, "routes", failed=[BORDER]),
            noted(9, "link", link=BORDER, state="up"),
        ],
    )
    assert history.failed == ((0, frozenset()), (round(3.5 * SECOND), frozenset({BORDER})))
    assert history.moves == (
        Move(BORDER, 3 * SECOND, round(3.5 * SECOND)),
        Move(BORDER, 9 * SECOND, 2**63 - 1),
    )


def test_meters_that_go_or_are_set_again_are_known(network: Network) -> None:
    events = [
        noted(1, "meter", meter="m", state="set"),
        noted(2, "meter", meter="n", state="set"),
        noted(3, "meter", meter="m", state="set"),
        noted(4, "meter", meter="m", state="removed"),
        noted(5, "meter", meter="m", state="set"),
    ]
    assert read_history(network, events).uncounted == (3 * SECOND, 4 * SECOND)


def test_a_network_alone_is_a_history(network: Network) -> None:
    assert History(network).most_bits(BORDER, "left.one", 0, SECOND) == 5 * MBIT
