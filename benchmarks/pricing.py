"""One update of a portal's prices and distances, against solving the linear program that they head for.

`update_52_pops` (topologies/isp-b.yaml) and `update_754_pops` (the size of the largest network of the
Topology Zoo) are an update of the prices by measured traffic and the full mesh of distances; the peer is
SciPy's HiGHS on the same network and demand. Beside them, without a peer, how near the price loop comes:
random demands on Abilene and ISP-A, and the bill of a synthetic month. `--plots FOLDER` draws the figures of
docs/pricing.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import bench
import numpy as np
import scipy

from testbed.portal import pricing
from testbed.portal.charging import billed_rank, charging_volume
from testbed.portal.config import PortalConfig
from testbed.portal.internal import InternalView
from testbed.portal.optimum import (
    bill_with_free_slots,
    least_bill,
    least_distance_product,
    least_utilisation,
)
from testbed.portal.rehearsal import (
    NEIGHBOUR_PRICES,
    Period,
    billed_loop,
    price_loop,
    random_problem,
    three_neighbours,
)
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
LAST = 250  # from then on to this one the optimum must be kept
ELASTICITY = {"mlu": 0.08, "bdp": 0.3, "multihoming": 2.0}  # of a usual distance, in an update
FILLED = {"mlu": 0.7, "bdp": 0.9}  # the least maximum utilisation of the demand
SLOTS_A_DAY = 288
RULES: dict[str, dict[str, object]] = {
    "the default": {},
    "not ahead": {"step": {"ahead": 0}},
    "one step ahead": {"step": {"ahead": 1}},
    "constant steps": {"step": {"rule": "constant"}},
    "constant, not ahead": {"step": {"rule": "constant", "ahead": 0}},
    "diminishing steps": {"step": {"rule": "diminishing"}},
    "clip-normalise": {"projection": "clip-normalise"},
}


def main() -> None:
    parser = bench.parser(__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0, help="the first of the random demands and months")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="draw the convergence into a folder")
    arguments = parser.parse_args()
    quick = arguments.quick
    bench.show("prices", [update_52_pops(quick), update_754_pops(quick)], arguments.json)
    seeds = range(arguments.seed, arguments.seed + (5 if quick else 100))
    cases = list(product(FILLED, ("abilene", "isp-a")))
    show_convergence("random demands", [convergence("", name, of, seeds) for of, name in cases])
    some = seeds[:3] if quick else seeds[:50]
    elastic = [
        convergence(f", elasticity x {factor:g}", name, of, some, factor)
        for of, name in cases
        for factor in (0.25, 0.5, 2, 4)
    ]
    show_convergence("other demand", elastic)
    ruled = [
        convergence(f", {label}, elasticity x {factor:g}", "abilene", of, some, factor, **changes)
        for of in FILLED
        for label, changes in RULES.items()
        if "projection" not in changes or of == "mlu"
        for factor in (1, 4)
    ]
    show_convergence("other rules", ruled)
    days, count = (7, 1) if quick else (30, 3)
    months = {seed: month(days, seed) for seed in range(arguments.seed, arguments.seed + count)}
    bench.show_rows(
        f"the bill of {days} days, over that of perfect foresight",
        ("", "spread evenly", "by prices", "one linear program", "took"),
        [
            (
                f"month {number}",
                f"{100 * item.even:+.1f} %",
                f"{100 * item.priced:+.1f} %",
                f"{100 * item.one_program:+.1f} %",
                f"{item.took_s:.0f} s",
            )
            for number, item in months.items()
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
    view, demand = random_problem(config, seed=1)
    traffic_bps = view.link_traffic(demand.matrix_bps(len(view.pids)))
    prices = pricing.update(view, pricing.start(view, config.pricing), traffic_bps, config.pricing, 10.0)

    def ours() -> None:
        later = pricing.update(view, prices, traffic_bps, config.pricing, 10.0)
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


@dataclass(frozen=True)
class Run:
    """What each update came to, in parts of the optimum; and the highest utilisation."""

    gap: np.ndarray
    utilisation: np.ndarray


def run(config: PortalConfig, seed: int, elasticity: float | None = None) -> Run:
    objective = config.pricing.objective
    view, demand = random_problem(config, seed, FILLED[objective])
    best = (least_utilisation if objective == "mlu" else least_distance_product)(view, demand).value
    loop = price_loop(view, demand, config, LAST, elasticity or ELASTICITY[objective])
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


def convergence(
    label: str, name: str, objective: str, seeds: Sequence[int], factor: float = 1.0, **changes: object
) -> tuple[str, ...]:
    """A row of a table: how far demands of so many seeds are from the optimum in the last updates."""
    config = shipped(name, objective=objective, **changes)
    runs = [run(config, seed, factor * ELASTICITY[objective]) for seed in seeds]
    misses = np.array([miss(made, objective) for made in runs])
    before = np.median([made.gap[0] for made in runs])
    shown = [f"{100 * part:.2f} %" for part in (before, *np.quantile(misses, (0.5, 0.95, 1)))]
    return f"{objective}, {name}{label}", *shown, f"{np.count_nonzero(misses <= 0.01)} of {len(seeds)}"


def show_convergence(title: str, rows: Sequence[tuple[str, ...]]) -> None:
    columns = ("", "first update", "median", "95th percentile", "worst", "within 1 %")
    bench.show_rows(f"{title}: away from the optimum in updates {UPDATES} to {LAST}", columns, rows)


@dataclass(frozen=True)
class Month:
    """Bills above that of perfect foresight, and the volumes that led to them, (slots, links).

    `one_program` is what one linear program leads to, with the slots of the highest total volume free.
    """

    even: float
    priced: float
    one_program: float
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
    known = (price, period.background_bps, period.p2p_bps, np.full(3, 1e9), 95)
    best = least_bill(*known)
    total = period.background_bps.sum(axis=1) + period.p2p_bps
    spared = slots - billed_rank(slots, 95)
    free = np.zeros((slots, 3), bool)
    free[np.argsort(total)[slots - spared :]] = True
    one = bill_with_free_slots(*known, free).value
    even = period.background_bps + period.p2p_bps[:, None] / 3
    bills = [price @ charging_volume(found, 95) / best.value - 1 for found in (even, volumes)]
    return Month(*bills, one / best.value - 1, took_s, period, volumes, best.volumes_bps)


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
    """The median of demands, update by update, under other rules and elasticities."""
    figure, axes = _axes(3, height=3.4)
    for each, factor in zip(axes, (1, 4), strict=False):
        for label, changes in RULES.items():
            each.semilogy(*_medians(shipped("abilene", objective="mlu", **changes), factor), label=label)
        each.set_title(f"rules, elasticity x {factor}")
    for factor in (0.25, 0.5, 1, 2, 4):
        axes[2].semilogy(
            *_medians(shipped("abilene", objective="mlu"), factor), label=f"elasticity x {factor:g}"
        )
    axes[2].set_title("demand")
    for each in axes:
        each.set(xlabel="update", ylim=(1e-3, 300))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower left", ncols=7, fontsize=7)
    axes[2].legend(loc="upper right", fontsize=7)
    axes[0].set_ylabel("above the least, median [%]")
    return figure


def _medians(config: PortalConfig, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """How far 20 demands are away, in percent, by update."""
    gaps = [run(config, seed, factor * ELASTICITY[config.pricing.objective]).gap for seed in range(20)]
    median = np.median(np.abs(gaps), axis=0)
    return np.arange(1, len(median) + 1), 100 * np.maximum(median, 1e-5)


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
