"""From what an ISP knows to what it publishes, at the start and while its links' loads change."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recorded_control import network as small_network
from running_network import served

from testbed.controller.counters import Poll
from testbed.controller.fabric import Fabric
from testbed.errors import UserError
from testbed.portal.alto.model import Published
from testbed.portal.config import PortalConfig
from testbed.portal.publication import Live, initial, resolved
from testbed.portal.view import portal_config
from testbed.topology.model import Direction
from testbed.topology.routing import compute_routes

ROOT = Path(__file__).parents[3]
NS_PER_S = 1_000_000_000

LINE = {
    "isp": "line",
    "listen": "127.0.0.1:0",
    "pids": [
        {"pid": "a", "prefixes": ["10.1.0.0/16"]},
        {"pid": "b", "prefixes": ["10.2.0.0/16"]},
        {"pid": "c", "prefixes": ["10.3.0.0/16"]},
    ],
    "links": [
        {"a": "a", "b": "b", "weight": 2, "capacity_bps": 1e6, "delay_s": 0.01, "loss": 0.1},
        {"a": "b", "b": "c", "weight": 3, "capacity_bps": 2e6, "delay_s": 0.02, "background_bps": 5e5},
    ],
    "external": [
        {"pid": "x", "prefixes": ["0.0.0.0/0"], "exit": "c", "weight": 7, "hops": 2, "capacity_bps": 4e6}
    ],
}


def config(**changes: Any) -> PortalConfig:
    return PortalConfig.model_validate({**LINE, **changes})


def cost(published: Published, kind: str, source: str, target: str, of: str = "networkmap") -> float:
    pids = list(next(item for item in published.network_maps if item.id == of).prefixes)
    return float(published.costs[of, kind][pids.index(source), pids.index(target)])


def test_every_metric_of_a_path_is_made_of_its_links() -> None:
    said = initial(config())
    assert cost(said, "num-routingcost", "a", "x") == 12
    assert cost(said, "num-hopcount", "a", "x") == 4
    assert cost(said, "num-delay-ow", "a", "c") == pytest.approx(30_000), "microseconds"
    assert cost(said, "num-lossrate", "a", "c") == pytest.approx(10), "percent"
    assert cost(said, "num-tput", "a", "c") == pytest.approx(125_000), "bytes per second"
    assert cost(said, "num-tput", "b", "c") == pytest.approx(187_500), "without the background"


def test_ranks_follow_the_distances() -> None:
    said = initial(config())
    assert cost(said, "ord-routingcost", "a", "a") == 1
    order = [cost(said, "ord-routingcost", "a", pid) for pid in ("a", "b", "c", "x")]
    assert order == sorted(set(order))


def test_the_rest_of_the_world_is_in_the_map_and_has_no_cost() -> None:
    said = initial(config(external=[]))
    assert list(said.network_maps[0].prefixes)[-1] == "world"
    assert np.isnan(said.costs["networkmap", "num-routingcost"][-1]).all()
    assert np.isnan(said.costs["networkmap", "num-routingcost"][:, -1]).all()


def test_an_aggregation_has_the_means_of_its_members() -> None:
    said = initial(config(aggregations={"coarse": {"all": ["a", "c"]}}))
    assert list(said.network_maps[1].prefixes) == ["all", "b", "x", "world"]
    assert said.network_maps[1].prefixes["all"] == ("10.1.0.0/16", "10.3.0.0/16")
    assert cost(said, "num-routingcost", "all", "b", "coarse") == 2.5
    assert cost(said, "num-routingcost", "all", "all", "coarse") == 2.5
    assert said.network_maps[1].tag != said.network_maps[0].tag


def test_a_map_by_hand_says_nothing_of_links() -> None:
    by_hand = config(links=[], external=[], costs={"a": {"b": 4, "a": 0}})
    said = initial(by_hand)
    assert [kind.name for kind in said.cost_types] == ["num-routingcost", "ord-routingcost"]
    assert cost(said, "num-routingcost", "a", "b") == 4
    assert np.isnan(cost(said, "num-routingcost", "b", "a"))


@pytest.mark.parametrize("hiding", [{"levels": 3}, {"perturbation": 0.2}])
def test_who_hides_distances_gives_no_exact_metrics_away(hiding: dict[str, Any]) -> None:
    names = [kind.name for kind in initial(config(disclosure=hiding)).cost_types]
    assert names == ["num-routingcost", "ord-routingcost"]
    asked = initial(config(disclosure=hiding, metrics=["hopcount"]))
    assert "num-hopcount" in [kind.name for kind in asked.cost_types]


def test_a_topology_file_is_as_good_as_its_links() -> None:
    file = ROOT / "topologies" / "quickstart.yaml"
    by_file = PortalConfig.model_validate({"isp": "dslnet", "listen": "127.0.0.1:0", "topology": str(file)})
    full = resolved(by_file)
    assert full.topology is None
    assert {entry.pid for entry in full.pids} == {"dslnet:paris", "dslnet:lyon", "dslnet:marseille"}
    assert [item.id for item in initial(full).network_maps] == ["networkmap", "coarse"]
    slower = by_file.model_copy(update={"metrics": (), "isp": "dslnett"})
    with pytest.raises(UserError, match="did you mean 'dslnet'"):
        resolved(slower)


def test_what_is_given_beside_a_topology_counts() -> None:
    file = ROOT / "topologies" / "quickstart.yaml"
    given = {"metrics": ["hopcount"], "pricing": {"metric": "hops"}, "aggregations": {}}
    full = resolved(
        PortalConfig.model_validate({"isp": "dslnet", "listen": "[::1]:0", "topology": str(file), **given})
    )
    assert (full.metrics, full.pricing.metric, dict(full.aggregations)) == (("hopcount",), "hops", {})


class Site:
    """Keeps what is published."""

    def __init__(self) -> None:
        self.said: list[Published] = []
        self.news = asyncio.Event()

    def publish(self, published: Published) -> None:
        self.said.append(published)
        self.news.set()


class Controlled:
    """A real controller's API over the small network, whose switches count what they are told."""

    def __init__(self, folder: Path) -> None:
        network = small_network()
        self.fabric = Fabric(network, compute_routes(network), compute_routes)
        self.socket = folder / "controller.sock"
        self.second = 0

    def count(self, **rates_bps: float) -> None:
        """A second goes by in which links (`a__b` for a--b) carry so much both ways, others nothing."""
        self.second += 1
        for pop, totals in self.fabric.totals.items():
            before = totals.last.ports if totals.last else {}
            ports = {}
            for link in self.fabric.ports[pop]:
                carried = rates_bps.get(link.replace("--", "__").replace(".", "_"), 0.0) / 8
                sent = before[link][0] if link in before else 0
                ports[link] = [sent + int(carried), 0, 0, 0, 0, 0]
            totals.add(Poll(self.second * NS_PER_S, pop, ports, {}, 0))


@contextmanager
def controlled(folder: Path) -> Iterator[Controlled]:
    made = Controlled(folder)
    with served(made.fabric, made.socket):
        yield made


def live_config(controller: Controlled, isp: str, **more: Any) -> PortalConfig:
    network = small_network()
    pricing = {"objective": "mlu", "update_s": 0.05}
    return portal_config(
        network,
        compute_routes(network),
        isp,
        listen="127.0.0.1:0",
        loads=controller.socket,
        **{"pricing": pricing, **more},
    )


async def following(config: PortalConfig, site: Site, steps: Any) -> None:
    """Run the loop until the steps are done."""
    loop = asyncio.create_task(Live(config).run(site.publish))
    try:
        await asyncio.wait_for(steps, 30)
    finally:
        loop.cancel()
        with suppress(asyncio.CancelledError):
            await loop


async def next_one(site: Site) -> Published:
    site.news.clear()
    await site.news.wait()
    return site.said[-1]


async def test_distances_rise_where_the_load_is(tmp_path: Path) -> None:
    site = Site()
    with controlled(tmp_path) as controller:
        config = live_config(controller, "left")
        controller.count()
        before = initial(config)

        async def steps() -> None:
            for _ in range(5):
                controller.count(left_one__left_two=5e6)
                await next_one(site)

        await following(config, site, steps())
    after = site.said[-1]
    inside = ("left:one", "left:two")
    assert cost(after, "num-routingcost", *inside) > cost(after, "num-routingcost", "left:one", "carrier")
    assert after.costs["networkmap", "num-tput"][0, 1] < before.costs["networkmap", "num-tput"][0, 1]


async def test_a_link_that_is_not_counted_for_once_keeps_its_last_load(tmp_path: Path) -> None:
    site = Site()
    with controlled(tmp_path) as controller:
        config = live_config(controller, "left")
        controller.count()

        async def steps() -> None:
            await next_one(site)
            controller.count(left_one__left_two=5e6)
            while cost(await next_one(site), "num-tput", "left:one", "left:two") == 20e6 / 8:
                pass
            await next_one(site)
            await next_one(site)

        await following(config, site, steps())
    assert cost(site.said[-1], "num-tput", "left:one", "left:two") == pytest.approx(15e6 / 8, rel=1e-6)


async def test_static_distances_follow_links_that_fail(tmp_path: Path) -> None:
    site = Site()
    with controlled(tmp_path) as controller:
        config = live_config(controller, "left", pricing={"objective": "static", "update_s": 0.05})
        controller.count()
        assert not np.isnan(cost(initial(config), "num-routingcost", "left:one", "left:two"))

        async def steps() -> None:
            controller.count()
            await next_one(site)
            controller.fabric.port_is("left.one", "left.one--left.two", True)
            controller.count()
            while not np.isnan(cost(await next_one(site), "num-routingcost", "left:one", "left:two")):
                pass
            controller.fabric.port_is("left.one", "left.one--left.two", False)
            while np.isnan(cost(await next_one(site), "num-routingcost", "left:one", "left:two")):
                pass

        await following(config, site, steps())


async def test_a_silent_controller_leaves_the_maps_and_its_return_is_noticed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    site = Site()
    controller = Controlled(tmp_path)
    config = live_config(controller, "left")
    controller.count()

    async def steps() -> None:
        while "no loads" not in caplog.text:
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)
        assert caplog.text.count("no loads") == 1
        assert site.said == []
        with served(controller.fabric, controller.socket):
            await next_one(site)

    with caplog.at_level("INFO", "portal.publication"):
        await following(config, site, steps())
    assert "answers again" in caplog.text


async def test_a_link_that_gets_slower_has_less_room(tmp_path: Path) -> None:
    site = Site()
    with controlled(tmp_path) as controller:
        config = live_config(controller, "left")
        controller.count()

        async def steps() -> None:
            await next_one(site)
            slow = Direction(2_000_000)
            controller.fabric.set_directions("left.one--left.two", slow, slow)
            while cost(await next_one(site), "num-tput", "left:one", "left:two") != 2e6 / 8:
                pass

        await following(config, site, steps())


async def test_without_a_controller_there_is_nothing_to_follow(caplog: pytest.LogCaptureFixture) -> None:
    site = Site()
    await asyncio.wait_for(Live(config()).run(site.publish), 5)
    assert caplog.text == ""
    await asyncio.wait_for(Live(config(pricing={"objective": "mlu"})).run(site.publish), 5)
    assert "the prices of objective mlu stay" in caplog.text
    assert site.said == []


def test_ranks_of_an_aggregation_are_ranks_of_its_own_distances() -> None:
    said = initial(config(aggregations={"coarse": {"all": ["a", "c"]}}, disclosure={"levels": 3}))
    coarse = said.costs["coarse", "num-routingcost"]
    known = coarse[~np.isnan(coarse)]
    assert set(known) == set(np.round(known)), "no means of ranks"


def test_a_wrong_setting_beside_a_topology_is_an_error_with_its_place() -> None:
    file = str(ROOT / "topologies" / "quickstart.yaml")
    wrong = {"isp": "dslnet", "listen": "127.0.0.1:0", "topology": file, "aggregations": {"x": {"y": ["no"]}}}
    with pytest.raises(UserError, match="there is no PID 'no'"):
        resolved(PortalConfig.model_validate(wrong))
