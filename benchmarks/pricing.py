"""One update of a portal's prices and distances, against solving the linear program that they head for.

`update_52_pops` (topologies/isp-b.yaml) and `update_754_pops` (the size of the largest network of the
Topology Zoo) are an update of the prices by measured traffic and the full mesh of distances; the peer is
SciPy's HiGHS on the same network and demand. Beside them, without a peer, how near the price loop comes:
random demands on Abilene and ISP-A, and the bill of a synthetic month. `--plots FOLDER` draws the figures of
docs/pricing.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path

import bench
import numpy as np
import scipy

from testbed.portal import pricing
from testbed.portal.charging import charging_volume
from testbed.portal.config import PortalConfig
from testbed.portal.elastic import Demand, Period, billed_loop, price_loop, random_demand
from testbed.portal.internal import InternalView
from testbed.portal.optimum import least_bill, least_distance_product, least_utilisation
from testbed.portal.view import portal_config
from testbed.spec.topology import TopologySpec, load_topology
from testbed.topology.compile import compile_network
from testbed.topology.generators import shapes
from testbed.topology.generators.isp import IspOptions, generate_isp
from testbed.topology.model import Network
from testbed.topology.routing import compute_routes

TOPOLOGIES = Path(__file__).parent.parent / "topologies"
HIGHS = f"HiGHS (SciPy {scipy.__version__})"

UPDATES = 200
SETTLED = 50  # updates after that in which the optimum must be kept
ELASTICITY = {"mlu": 0.08, "bdp": 0.3, "multihoming": 2.0}  # of a usual distance, in an update
FILLED = {"mlu": 0.7, "bdp": 0.9}  # the least maximum utilisation of the demand
NEIGHBOUR_PRICES = (10.0, 4.0, 6.0)
SLOTS_A_DAY = 288


def main() -> None:
    parser = bench.parser(__doc__.splitlines()[0])
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="draw the convergence into a folder")
    arguments = parser.parse_args()
    quick = arguments.quick
    bench.show("prices", [update_52_pops(quick), update_754_pops(quick)], arguments.json)
    rows = [convergence(*case, seeds=5 if quick else 100) for case in product(("abilene", "isp-a"), FILLED)]
    columns = ("", "before", "median", "95th percentile", "worst", "within 1 %")
    bench.show_rows(f"above the optimum in updates {UPDATES} to {UPDATES + SETTLED}", columns, rows)
    days, seeds = (7, 1) if quick else (30, 3)
    months = [month(days, seed) for seed in range(seeds)]
    bench.show_rows(
        f"the bill of {days} days, over that of perfect foresight",
        ("", "spread evenly", "by prices", "took"),
        [
            (
                f"month {number}",
                f"{100 * item.even:+.1f} %",
                f"{100 * item.priced:+.1f} %",
                f"{item.took_s:.0f} s",
            )
            for number, item in enumerate(months)
        ],
    )
    if arguments.plots:
        plot(arguments.plots, days)


def update_52_pops(quick: bool) -> bench.Measure:
    network = compile_network(load_topology(TOPOLOGIES / "isp-b.yaml")[0])
    return measured("update_52_pops", network, "isp-b", times=50 if quick else 1000)


def update_754_pops(quick: bool) -> bench.Measure:
    options = IspOptions("large", 754, region="north-america")
    data = generate_isp(options, partial(shapes.waxman, alpha=0.05, links=895))
    network = compile_network(TopologySpec.model_validate({"name": "large", **data}))
    return measured("update_754_pops", network, "large", times=10 if quick else 100)


def measured(name: str, network: Network, isp: str, times: int) -> bench.Measure:
    """One update in the middle of a run, and the program that knows all demand, each in its own process."""
    config = configured(network, isp, objective="mlu")
    view, demand = problem(config, seed=1)
    traffic_bps = view.link_traffic(demand.matrix_bps(len(view.pids)))
    prices = pricing.update(view, pricing.start(view, config.pricing), traffic_bps, config.pricing)

    def ours() -> None:
        later = pricing.update(view, prices, traffic_bps, config.pricing)
        pricing.distances(view, later, config)

    routing = view.routing_matrix()  # known to both beforehand, as routes are
    theirs = bench.cost(lambda: least_utilisation(view, demand, routing).value, times=3)
    receivers, sources = demand.source.shape
    note = f"{receivers} receivers with {sources} sources each"
    return bench.Measure(name, bench.cost(ours, times).seconds, theirs.seconds, HIGHS, "s", note)


def configured(network: Network, isp: str, **changes: object) -> PortalConfig:
    return portal_config(network, compute_routes(network), isp, listen="127.0.0.1:0", pricing=changes)


def shipped(name: str, **changes: object) -> PortalConfig:
    return configured(compile_network(load_topology(TOPOLOGIES / f"{name}.yaml")[0]), name, **changes)


def problem(config: PortalConfig, seed: int, filled: float = 0.7) -> tuple[InternalView, Demand]:
    """Random background and demand whose least maximum utilisation is `filled`, or close to it."""
    rng = np.random.default_rng(seed)
    view = InternalView.of(config)
    demand = random_demand(view.own, (1, 2, 4)[seed % 3] * view.own, (3, 5, 8)[seed // 3 % 3], 1e6, rng)
    alone = least_utilisation(replace(view, background_bps=np.zeros(len(view.ways))), demand).value
    demand = replace(demand, rate_bps=demand.rate_bps * filled / alone)
    view = replace(view, background_bps=rng.uniform(0, 0.3, len(view.ways)) * view.capacity_bps)
    best = least_utilisation(view, demand).value
    return view, replace(demand, rate_bps=demand.rate_bps * filled / best)


@dataclass(frozen=True)
class Run:
    """What each update came to, in parts of the optimum; and the highest utilisation."""

    gap: np.ndarray
    utilisation: np.ndarray


def run(config: PortalConfig, seed: int, elasticity: float | None = None, updates: int = 0) -> Run:
    objective = config.pricing.objective
    view, demand = problem(config, seed, FILLED[objective])
    best = (least_utilisation if objective == "mlu" else least_distance_product)(view, demand).value
    loop = price_loop(view, demand, config, updates or UPDATES + SETTLED, elasticity or ELASTICITY[objective])
    traffic = np.array(list(loop))
    utilisation = ((view.background_bps + traffic) / view.capacity_bps).max(axis=1)
    value = utilisation if objective == "mlu" else traffic @ view.distance
    return Run(value / best - 1, utilisation)


def miss(made: Run, objective: str) -> float:
    """The furthest from the optimum in the last updates; with `bdp` also how overfull a link was."""
    last = slice(UPDATES - 1, None)
    if objective == "mlu":
        return float(made.gap[last].max())
    return float(max(np.abs(made.gap[last]).max(), made.utilisation[last].max() - 1))


def convergence(name: str, objective: str, seeds: int) -> tuple[str, ...]:
    config = shipped(name, objective=objective)
    runs = [run(config, seed) for seed in range(seeds)]
    misses = np.array([miss(made, objective) for made in runs])
    before = np.median([made.gap[0] for made in runs])
    shown = [f"{100 * part:.2f} %" for part in (before, *np.quantile(misses, (0.5, 0.95, 1)))]
    return f"{objective}, {name}", *shown, f"{np.count_nonzero(misses <= 0.01)} of {seeds}"


@dataclass(frozen=True)
class Month:
    """Two bills, above that of perfect foresight, and the volumes that led to them, (slots, links)."""

    even: float
    priced: float
    took_s: float
    period: Period
    volumes_bps: np.ndarray
    best_bps: np.ndarray


def month(days: int, seed: int) -> Month:
    slots = days * SLOTS_A_DAY
    config = three_neighbours(slots)
    rng = np.random.default_rng(seed)
    before, period = Period.synthetic(2 * days, SLOTS_A_DAY, 3, rng).halves()
    start = time.perf_counter()
    volumes = billed_loop(InternalView.of(config), config, before, period, ELASTICITY["multihoming"])
    took_s = time.perf_counter() - start
    price = np.array(NEIGHBOUR_PRICES)
    best = least_bill(price, period.background_bps, period.p2p_bps, np.full(3, 1e9), 95)
    even = period.background_bps + period.p2p_bps[:, None] / 3
    bills = [price @ charging_volume(found, 95) / best.value - 1 for found in (even, volumes)]
    return Month(*bills, took_s, period, volumes, best.volumes_bps)


def three_neighbours(period_slots: int) -> PortalConfig:
    ways = zip("abc", NEIGHBOUR_PRICES, strict=True)
    return PortalConfig.model_validate(
        {
            "isp": "home",
            "listen": "127.0.0.1:0",
            "pids": [{"pid": pid, "prefixes": []} for pid in "abc"],
            "links": [{"a": "a", "b": "b"}, {"a": "b", "b": "c"}],
            "external": [{"pid": f"x{at}", "exit": at, "price": price} for at, price in ways],
            "pricing": {
                "objective": "multihoming",
                "update_s": 30,
                "charging": {"period_slots": period_slots},
            },
        }
    )


def plot(folder: Path, days: int) -> None:
    from testbed import plotting

    plotting.prepare()
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["font.size"] = 9
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in FIGURES.items():
        figure = draw(days)
        figure.savefig(folder / f"pricing-{name}.png", dpi=110, metadata={"Software": None})


def _axes(columns: int, height: float = 3.0):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * columns, height), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, columns))
    for each in axes:
        each.grid(alpha=0.3)
        each.spines[["top", "right"]].set_visible(False)
    return figure, axes


def draw_convergence(_days: int):
    """Ten random demands for each network and objective."""
    figure, axes = _axes(4)
    for each, (objective, name) in zip(axes, product(FILLED, ("abilene", "isp-a")), strict=True):
        config = shipped(name, objective=objective)
        for seed in range(10):
            made = run(config, seed)
            gap = np.maximum(np.abs(made.gap), 1e-6)
            each.semilogy(np.arange(1, len(gap) + 1), 100 * gap, color="tab:blue", alpha=0.45, lw=0.9)
        each.axhline(1, color="black", lw=0.8, ls="--")
        each.set(title=f"{objective}, {name}", xlabel="update", ylim=(1e-3, 300))
    axes[0].set_ylabel("away from the optimum [%]")
    return figure


def draw_rules(_days: int):
    """The same demand under other projections, leads and steps."""
    figure, axes = _axes(3)
    seed = 1
    changes: list[tuple[str, dict[str, object], float]] = [
        ("Euclidean, three steps ahead", {}, pricing.LEAD),
        ("Euclidean, not ahead", {}, 0.0),
        ("clip-normalise", {"projection": "clip-normalise"}, pricing.LEAD),
    ]
    for label, more, lead in changes:
        axes[0].semilogy(
            *_gaps(run_ahead(lead, shipped("abilene", objective="mlu", **more), seed)), label=label
        )
    for rule, size in (("constant", 20), ("constant", 5), ("diminishing", 20), ("diminishing", 100)):
        config = shipped("abilene", objective="mlu", step={"rule": rule, "size": size})
        axes[1].semilogy(*_gaps(run(config, seed)), label=f"{rule}, {size}")
    for elasticity in (0.02, 0.08, 0.16, 0.32):
        made = run(shipped("abilene", objective="mlu"), seed, elasticity)
        axes[2].semilogy(*_gaps(made), label=f"elasticity {elasticity}")
    for each, title in zip(axes, ("projection", "step", "demand"), strict=True):
        each.set(title=title, xlabel="update", ylim=(1e-3, 300))
        each.legend(loc="lower left", fontsize=7)
    axes[0].set_ylabel("above the least utilisation [%]")
    return figure


def run_ahead(lead: float, config: PortalConfig, seed: int) -> Run:
    usual, pricing.LEAD = pricing.LEAD, lead
    try:
        return run(config, seed)
    finally:
        pricing.LEAD = usual


def _gaps(made: Run) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(1, len(made.gap) + 1), 100 * np.maximum(made.gap, 1e-6)


def draw_month(days: int):
    """Three days of each way, and the sorted volumes of all of them."""
    figure, axes = _axes(3)
    made = month(days, 0)
    shown = slice(3 * SLOTS_A_DAY, 6 * SLOTS_A_DAY)
    hours = np.arange(3 * SLOTS_A_DAY) / 12
    for link, each in enumerate(axes):
        background, volume = made.period.background_bps[shown, link], made.volumes_bps[shown, link]
        each.fill_between(hours, background / 1e6, color="0.8", label="background", lw=0)
        each.fill_between(
            hours, background / 1e6, volume / 1e6, color="tab:blue", alpha=0.6, label="P2P", lw=0
        )
        billed = [charging_volume(volumes, 95)[link] / 1e6 for volumes in (made.volumes_bps, made.best_bps)]
        each.axhline(billed[0], color="tab:red", lw=1, label="billed")
        each.axhline(billed[1], color="black", lw=1, ls="--", label="billed with foresight")
        each.set(title=f"neighbour at {NEIGHBOUR_PRICES[link]:g} a Mbit/s", xlabel="hour", ylim=(0, 75))
    axes[0].set_ylabel("Mbit/s")
    axes[0].legend(loc="upper left", fontsize=7, ncols=2)
    return figure


FIGURES: dict[str, Callable] = {
    "convergence": draw_convergence,
    "rules": draw_rules,
    "month": draw_month,
}

if __name__ == "__main__":
    main()
