"""What tests of verbs on running networks share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import small_topology
from running_network import RunningNetwork, running
from verbs import own_place


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the test's own, where its runs are too."""
    own_place(tmp_path, monkeypatch)
    return tmp_path


@pytest.fixture
def net(place: Path) -> Iterator[RunningNetwork]:
    """A run of the small topology."""
    with running(small_topology.network(place)) as found:
        yield found
