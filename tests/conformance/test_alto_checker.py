"""`testbed alto --check` against real portals: it finds nothing, also while they publish new maps."""

from __future__ import annotations

import json
import threading

import pytest
from real_portal import Portal
from verbs import verb


@pytest.mark.parametrize("name", ["full", "example"])
def test_a_portal_breaks_no_rule(request: pytest.FixtureRequest, name: str) -> None:
    found: Portal = request.getfixturevalue(name)
    done = verb("alto", found.uri, "--check", "--json")
    assert json.loads(done.stdout)["findings"] == []
    assert done.code == 0


def test_a_portal_whose_maps_change_meanwhile_breaks_none_either(changing: Portal) -> None:
    over = threading.Event()

    def publish() -> None:
        turn = 0
        while not over.wait(0.05):
            turn += 1
            changing.put_faults({"missing": 0.5, "seed": turn} if turn % 3 == 0 else {"selfish": 1.0 + turn})

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        done = verb("alto", changing.uri, "--check", "--json")
    finally:
        over.set()
        thread.join()
        changing.put_faults({})
    assert json.loads(done.stdout)["findings"] == []
    assert done.code == 0
