"""Does the verdict turn before the metrics do? One small trial while more and more processes take its cores.

`python benchmarks/overload.py` (as root) runs the trial on an idle machine, then beside processes that do
nothing but count, as many as stand in `LOADS` for each core, from the first peer on. It prints what the trial
measured and what the verdict saw, and with `--plot FILE` draws both; the limits of
testbed/emulation/fidelity.py rest on it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median

import numpy as np
from rich.console import Console
from rich.table import Table

from testbed.analysis.summary import study
from testbed.emulation import fidelity
from testbed.emulation.capabilities import probe_engines
from testbed.errors import RunError
from testbed.spec.experiment import load_experiment
from testbed.trial.events import Event
from testbed.trial.plan import TrialPlan, plan_trials
from testbed.trial.record import MANIFEST, read_table
from testbed.trial.runner import run_trial

LOADS = (0.0, 0.0, 0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Counting processes for each core, trial by trial; what idle trials differ by is chance."""

QUICK_LOADS = (0.0, 8.0)
MOVED = 0.05
"""A mean completion time that is off by more than this share has moved."""

RTT_MOVED_S = 0.002
"""So may a round trip that is off by more than this."""

_LEAST_DRAWN = 0.01
SIGNALS = {
    "cpu_busy": fidelity.BUSY_LIMIT,
    "cpu_pressure": fidelity.PRESSURE_LIMIT,
    "wakeup_late_s": fidelity.LATE_LIMIT_S,
    "datapath_late_s": fidelity.DATAPATH_LATE_LIMIT_S,
    "line_late_s": fidelity.LINE_LATE_LIMIT_S,
}

EXPERIMENT = """\
name: overload
topology: {topology}
seed: 1
policies: [native]
swarm:
  content: {{size: 2 MiB, piece: 64 KiB}}
  seeds:
    - {{isp: backbone, pop: frankfurt, access: server}}
  leechers:
    - {{isp: backbone, count: 4, access: cable}}
    - {{isp: cablenet, count: 4, access: cable}}
    - {{isp: dslnet, count: 4, access: dsl}}
    - {{isp: fibrenet, count: 4, access: fibre}}
  arrival: {{within: 5 s}}
client: {{connections: 25, unchoke_slots: 4}}
tracker: {{at: backbone.frankfurt, numwant: 6}}
timeout: 90 s
"""


@dataclass(frozen=True)
class Outcome:
    """A trial at one load. A signal is its 90th percentile over the seconds: above its limit it counts.

    The error of round trips is the median of all seconds, from a host to its switch and back.
    """

    load: float
    completion_s: float | None
    rtt_error_s: float | None
    signals: dict[str, float | None]
    verdict: str
    reasons: tuple[str, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="an idle and an overloaded trial only")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the outcomes as JSON")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw them, as SVG, PNG or PDF")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("building networks needs root: put sudo before the command")
    loads = QUICK_LOADS if arguments.quick else LOADS
    with tempfile.TemporaryDirectory() as folder:
        outcomes = [
            measure(plan(Path(folder), number), Path(folder) / f"results{number}", load)
            for number, load in enumerate(loads)
        ]
    show(outcomes)
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1) + "\n")
    if arguments.plot:
        draw(outcomes, arguments.plot)


def plan(folder: Path, number: int) -> TrialPlan:
    file = folder / "overload.yaml"
    topology = Path(__file__).resolve().parent.parent / "topologies" / "quickstart.yaml"
    file.write_text(EXPERIMENT.format(topology=topology), encoding="utf-8")
    spec, document, topology_spec, _ = load_experiment(file)
    return plan_trials(spec, document, topology_spec, {"number": str(number)})[0]


def measure(planned: TrialPlan, results: Path, load: float) -> Outcome:
    """Run the trial beside `load` counting processes for each core."""
    print(f"{load:g} counting processes for each core", flush=True)
    with Counting(round(load * (os.cpu_count() or 1))) as counting:

        def follow(event: Event) -> None:
            if event.text:
                print(f"  {event.text}", flush=True)
            if event.text.startswith("downloading"):
                counting.begin()

        try:
            folder = run_trial(planned, results, probe_engines(), follow).folder
        except RunError as error:
            return Outcome(load, None, None, dict.fromkeys(SIGNALS), "failed", (error.what,))
    manifest = json.loads((folder / MANIFEST).read_text())
    cell = study(results).summary.cell("native", "completion_s.mean")
    samples = read_table(folder, "fidelity")
    late = [value for value in samples.column("datapath_late_s").to_pylist() if value is not None]
    return Outcome(
        load=load,
        completion_s=cell.estimate.mean if cell else None,
        rtt_error_s=median(late) if late else None,
        signals={name: percentile(samples.column(name).to_pylist()) for name in SIGNALS},
        verdict=manifest["verdict"],
        reasons=tuple(manifest["reasons"]),
    )


def percentile(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.quantile(known, 1 - fidelity.SHARE_OF_SECONDS)) if known else None


class Counting:
    """So many processes that count and do nothing else, from `begin` to the end of the context."""

    def __init__(self, processes: int) -> None:
        context = multiprocessing.get_context("fork")
        self._processes = [context.Process(target=count, daemon=True) for _ in range(processes)]
        self._begun = False

    def __enter__(self) -> Counting:
        return self

    def begin(self) -> None:
        self._begun = True
        for process in self._processes:
            process.start()

    def __exit__(self, *_: object) -> None:
        if self._begun:
            for process in self._processes:
                process.kill()
                process.join()


def count() -> None:
    # Linux may share time among sessions first (autogroup): all of them in one would take little from others.
    os.setsid()
    number = 0
    while True:
        number += 1


def idle_s(outcomes: Sequence[Outcome]) -> float:
    """The mean completion time on the idle machine."""
    times = [outcome.completion_s for outcome in outcomes if not outcome.load and outcome.completion_s]
    return fmean(times) if times else float("nan")


def show(outcomes: Sequence[Outcome]) -> None:
    table = Table("load", "completion", "RTT error", *SIGNALS, "verdict", title="90th percentiles of signals")
    base_s = idle_s(outcomes)
    for outcome in outcomes:
        time = "-" if outcome.completion_s is None else f"{outcome.completion_s / base_s - 1:+.1%}"
        error = "-" if outcome.rtt_error_s is None else f"{outcome.rtt_error_s * 1e3:.1f} ms"
        signals = ["-" if value is None else f"{value:.4f}" for value in outcome.signals.values()]
        table.add_row(f"{outcome.load:g}", time, error, *signals, outcome.verdict)
    table.add_row("limit", f"{MOVED:.0%}", "", *(f"{limit:g}" for limit in SIGNALS.values()), "")
    Console(width=140).print(table)
    for outcome in outcomes:
        for reason in outcome.reasons:
            print(f"{outcome.load:g}: {reason}")


def draw(outcomes: Sequence[Outcome], file: Path) -> None:
    """Above what was measured, below what the verdict saw, each in parts of its limit."""
    from testbed import plotting

    plotting.prepare()
    from matplotlib.figure import Figure

    loads = sorted({outcome.load for outcome in outcomes})
    figure = Figure(figsize=(7, 8), layout="constrained")
    above, middle, below = figure.subplots(3, 1, sharex=True)
    base_s = idle_s(outcomes)
    done = [outcome for outcome in outcomes if outcome.completion_s is not None]
    for outcome in done:
        place, dot = loads.index(outcome.load), "ko" if outcome.verdict == "valid" else "ro"
        above.plot(place, (outcome.completion_s or 0) / base_s * 100, dot)
        middle.plot(place, (outcome.rtt_error_s or 0) * 1e3, dot)
    above.axhspan(100 * (1 - MOVED), 100 * (1 + MOVED), color="0.9")
    above.set_yscale("log")
    above.set_yticks([100, 150, 200, 300], ["100", "150", "200", "300"])
    above.set_ylabel("mean completion time,\n% of the idle machine's")
    middle.set_ylabel("error of round trips, ms")
    middle.axhspan(-1e3 * RTT_MOVED_S, 1e3 * RTT_MOVED_S, color="0.9")
    middle.set_yscale("symlog", linthresh=1)
    for name, limit in SIGNALS.items():
        seen = [
            (loads.index(outcome.load), max(_LEAST_DRAWN, value / limit))
            for outcome in outcomes
            if (value := outcome.signals[name]) is not None
        ]
        if seen:
            below.plot(*zip(*seen, strict=True), "o-", markersize=4, linewidth=1, label=name)
    below.axhline(1, color="k", linewidth=0.8)
    below.set_yscale("log")
    below.set_ylabel("signal, in parts of its limit\n(90th percentile over the seconds)")
    below.set_xlabel("counting processes for each core")
    below.set_xticks(range(len(loads)), [f"{load:g}" for load in loads])
    below.legend(fontsize="small", loc="upper left")
    above.set_title("Black: valid, red: suspect. Grey: what is tolerated.", fontsize="medium")
    figure.savefig(file)


if __name__ == "__main__":
    main()
