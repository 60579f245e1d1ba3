"""Loads from the controller: mean rates between two readings, by the names that each side uses."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from testbed.portal.loads import LoadReader, NoLoads, Reading, mean_rates

WAYS = (("in", "left.a"), ("in", "left.b"), ("out", "left.a"), ("out", "transit"))


def document(step: int, **changes: Any) -> dict[str, Any]:
    """What the controller says `step` seconds after the first time; all ways carry 1,000 bytes a second."""

    def way(number: int) -> dict[str, Any]:
        return {
            "bytes": 1000 * number + 1000 * step,
            "monotonic_ns": 5_000_000_000 + step * 1_000_000_000,
            "capacity_bps": 1e6,
            "rate_bps": None,
        }

    links = {
        "in": {"left.a": way(1), "left.b": way(2)},
        "out": {"left.a": way(3), "transit.core": way(4)},
    }
    return {"isp": "left", "links": links, "down": [], **changes}


def test_rates_are_bytes_over_the_time_between_the_counts() -> None:
    rates = mean_rates(Reading.of(document(0)), Reading.of(document(4)), WAYS)
    assert rates.tolist() == [8000.0] * 4


def test_what_comes_in_over_the_border_is_counted_at_the_neighbours_end() -> None:
    assert Reading.of(document(0)).counted(WAYS)[3] == ("out", "transit.core")


def test_a_way_out_that_is_not_counted_yet_has_not_the_load_of_the_way_in() -> None:
    only_in = document(0)
    del only_in["links"]["out"]["left.a"]
    assert Reading.of(only_in).counted(WAYS)[2:] == (("out", "left.a"), ("out", "transit.core"))


def test_the_time_between_two_readings_is_that_of_the_counts() -> None:
    assert Reading.of(document(7)).seconds_since(Reading.of(document(2))) == 5
    assert Reading.of(document(7)).seconds_since(Reading({}, {}, {}, frozenset())) == 0


def test_counters_that_begin_again_or_stand_still_say_nothing() -> None:
    first, later = document(3), document(5)
    later["links"]["in"]["left.a"]["bytes"] = 7
    later["links"]["in"]["left.b"]["monotonic_ns"] = first["links"]["in"]["left.b"]["monotonic_ns"]
    del later["links"]["out"]
    assert all(math.isnan(rate) for rate in mean_rates(Reading.of(first), Reading.of(later), WAYS))


def test_an_idle_link_carries_zero_and_an_unknown_one_nan() -> None:
    same = document(2)
    same["links"]["in"]["left.a"]["bytes"] = document(1)["links"]["in"]["left.a"]["bytes"]
    rates = mean_rates(
        Reading.of(document(1)), Reading.of(same), (*WAYS, ("new", "left.a"), ("new", "left.c"))
    )
    assert rates[0] == 0
    assert math.isnan(rates[4])


@pytest.mark.parametrize(
    "wrong",
    [None, [], {}, {"links": {}}, {"links": [], "down": []}, {"links": {"x": {"y": 3}}, "down": []}],
)
def test_an_answer_that_lacks_something_is_no_reading(wrong: object) -> None:
    with pytest.raises(NoLoads, match="lack something"):
        Reading.of(wrong)


async def test_a_reader_asks_for_its_own_isp_over_the_socket(tmp_path: Path) -> None:
    asked: list[str] = []

    async def loads(request: web.Request) -> web.Response:
        asked.append(request.query_string)
        return web.json_response(document(0))

    app = web.Application()
    app.router.add_get("/loads", loads)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(tmp_path / "c.sock")).start()
    reader = LoadReader(tmp_path / "c.sock", "left")
    try:
        assert (await reader.read()).bytes["in", "left.a"] == 1000
        assert asked == ["isp=left"]
    finally:
        await reader.close()
        await runner.cleanup()


async def test_a_controller_that_is_not_there_is_no_loads(tmp_path: Path) -> None:
    reader = LoadReader(tmp_path / "c.sock", "left")
    try:
        with pytest.raises(NoLoads, match="does not answer"):
            await asyncio.wait_for(reader.read(), 10)
    finally:
        await reader.close()
