"""The page and the terminal's tables: self-contained, escaped, complete, well-formed."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest
from rich.console import Console
from synthetic_results import core_link, four_isps, write_results

from testbed.analysis.details import TrialDetails
from testbed.analysis.summary import analyze, study
from testbed.report.html import render_page, write_report
from testbed.report.plots import change_marks, network_plot, place_pops, utilisation_plots
from testbed.report.tables import losers, render_terminal
from testbed.topology.model import Network
from testbed.trial.record import write_table

EVIL = '<script>alert("x")</script> & $a_b$'
VOID = {"meta", "br", "use", "path", "img"}


class Page(HTMLParser):
    """Collects ids, links and text, and fails on tags that are closed in the wrong order."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.references, self.text, self.tags, self._open = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in VOID:
            self._open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("src", "href", "xlink:href"):
                self.references.append(value)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results") / "quickstart"
    policies = {"native": (0.2, 60.0), "p4p": (0.8, 40.0)}
    return write_results(folder, four_isps(1), policies=policies, blocks=16)


@pytest.fixture(scope="module")
def text(results):
    return write_report(results).read_text("utf-8")


def test_the_page_needs_nothing_from_elsewhere(text):
    page = Page(text)
    assert all(reference.startswith("#") for reference in page.references)
    assert not re.search(r"https?://|@import|url\((?!#)", text)
    assert "script" not in page.tags


def test_ids_are_unique_and_every_reference_has_its_target(text):
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    assert {reference[1:] for reference in page.references} <= set(page.ids)
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(page.ids)


def test_the_answer_comes_first_and_every_section_is_there(text):
    words = " ".join(" ".join(Page(text).text).split())
    assert words.index("less between ISPs") < words.index("Verdict: valid") < words.index("Policies")
    for heading in (
        "Completion and locality",
        "Who gained, who lost",
        "Payload between ISPs",
        "The network and its traffic",
        "Links between ISPs over time",
        "How to repeat it",
        "What the metrics mean",
    ):
        assert heading in words
    assert "delays were not emulated" in words
    assert "testbed run experiments/quickstart.yaml" in words
    assert "native-0-a1b2c3" in words
    assert "all leechers done" in words


def test_plots_take_their_colours_from_the_page(text):
    assert "#fe0" not in text
    assert "var(--p0)" in text
    assert "var(--p1)" in text
    assert text.count("<svg") == 1 + 2 + 4  # completion, a map a policy, the four links between ISPs


def test_what_a_user_wrote_is_escaped_everywhere(tmp_path):
    folder = write_results(
        tmp_path / "evil",
        four_isps(1),
        policies={EVIL.replace("/", ""): (0.2, 60.0)},
        blocks=4,
        manifest={
            "verdict": "suspect",
            "reasons": [EVIL],
            "notes": [EVIL],
            "experiment": EVIL,
            "kernel": EVIL,
        },
    )
    text = write_report(folder).read_text("utf-8")
    page = Page(text)
    assert "script" not in page.tags
    assert EVIL in "".join(page.text)


def test_a_suspect_trial_is_said_at_the_top_with_its_reason(tmp_path):
    folder = write_results(
        tmp_path / "suspect",
        four_isps(1),
        policies={"native": (0.2, 60.0)},
        blocks=4,
        manifest={"verdict": "suspect", "reasons": ["the processor was busy 97 % of the time"]},
    )
    words = " ".join(Page(write_report(folder).read_text("utf-8")).text)
    reason = "the processor was busy 97 % of the time"
    assert reason in words
    assert words.index(reason) < words.index("Policies")
    assert "Verdict: suspect" in words


def test_report_writes_summary_and_metrics_too(results):
    write_report(results)
    assert json.loads((results / "summary.json").read_text())["experiment"] == "quickstart"
    assert (results / "metrics.parquet").exists()
    assert not list(results.glob("*.part"))


def test_the_terminal_shows_the_answer_and_both_tables(results):
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(render_terminal(analyze(results)))
    shown = console.export_text()
    assert "less between ISPs" in shown
    assert "2 trials, all valid" in shown
    assert "Completion time, mean" in shown
    assert "fibrenet" in shown


def test_an_isp_that_got_worse_is_named(tmp_path):
    folder = write_results(
        tmp_path / "worse", four_isps(1), policies={"native": (0.8, 40.0), "far": (0.1, 90.0)}, blocks=8
    )
    sentences = losers(analyze(folder))
    assert any(
        sentence.startswith("dslnet got worse with far: completion time, mean +") for sentence in sentences
    )


def test_pops_with_coordinates_lie_as_on_a_map():
    places = place_pops(four_isps(1))
    assert places["cablenet.london"][0] < places["backbone.frankfurt"][0]
    assert places["fibrenet.rome"][1] < places["cablenet.manchester"][1]


def test_pops_without_coordinates_are_placed_the_same_each_time_and_apart():
    places = place_pops(four_isps(1, coordinates=False))
    assert places == place_pops(four_isps(1, coordinates=False))
    assert len({(round(x, 3), round(y, 3)) for x, y in places.values()}) == len(places)


def test_parallel_links_and_a_lone_pop_can_be_drawn():
    network = four_isps(1)
    twin = core_link("cablenet.london", "dslnet.paris", 6, "peer-peer")
    doubled = Network("n", network.isps, network.pops, (*network.links, twin))
    assert network_plot(doubled, {}, "twin").startswith("<svg")
    lone = Network("n", network.isps[:1], network.pops[:1], ())
    assert "frankfurt" in network_plot(lone, {}, "lone")


def test_labels_of_the_map_do_not_overlap(results):
    details: TrialDetails = study(results).trials[0]
    svg = network_plot(details.network, details.utilisation, "map")
    for pop in details.network.pops:
        assert f">{pop.name}<" in svg
    assert svg.count(" %<") == 4  # every link between ISPs found room for its number


# --- what was changed in mid-trial -----------------------------------------------------------------------

CUT = {"number": 0, "text": f"link a--b: cut {EVIL}", "spec": {}}
NARROW = {"number": 1, "text": "link c--d: rate 1 Mbit/s", "spec": {}}
BORDER = "cablenet.london--dslnet.paris"


def ns(seconds):
    return int(seconds * 1e9)


def done(entry, asked_s, effective_s):
    times = {"asked_ns": ns(asked_s), "effective_ns": ns(effective_s)}
    return {"t_ns": ns(effective_s), "event": "change", **entry, **times}


def changed_study(folder, events_of):
    """The study of two policies; `events_of` gives what was changed, by policy."""
    write_results(folder, four_isps(1), policies={"native": (0.2, 60.0), "p4p": (0.8, 40.0)}, blocks=16)
    for policy, events in events_of.items():
        (path,) = folder.glob(f"{policy}-*/events.jsonl")
        path.write_text(path.read_text() + "".join(json.dumps(event) + "\n" for event in events))
    return study(folder)


def test_what_was_changed_is_a_table_with_when_it_was_asked_for_and_took_effect(tmp_path):
    failed = {"t_ns": ns(30), "event": "change_failed", **NARROW, "asked_ns": ns(29), "error": "no such link"}
    late = {"t_ns": ns(40), "event": "change_not_reached", **NARROW}
    events = {"native": [failed, done(CUT, 20, 20.25)], "p4p": [done(CUT, 20, 22.5), late]}
    page = Page(render_page(changed_study(tmp_path / "results", events)))
    words = " ".join(" ".join(page.text).split())
    table = words[words.index("What was changed") : words.index("How to repeat it")]
    assert f"1 link a--b: cut {EVIL} asked at 20.0 s, in force 250 ms later" in table
    assert "asked at 20.0 s, in force 2.5 s later 2" in table
    assert "asked at 29.0 s, failed: no such link not reached" in table
    assert "script" not in page.tags


def test_without_events_there_is_no_such_table(text):
    assert "What was changed" not in text


def test_changes_are_marked_in_the_plots_with_their_numbers(tmp_path):
    native = done(NARROW, 29, 30)
    events = {"native": [done(CUT, 20, 20.2), native], "p4p": [done(CUT, 20, 20.4), done(NARROW, 9, 10)]}
    result = changed_study(tmp_path / "results", events)
    by_policy = {trial.manifest.policy: [trial] for trial in result.trials}
    (_, svg), *_ = utilisation_plots(by_policy, [BORDER])
    assert [text for text in re.findall(r">([\d, ]+)</text>", svg) if text in ("1", "2", "1, 2")] == [
        "2",
        "1",
        "2",
    ]
    trials = [trials[0] for trials in by_policy.values()]
    assert change_marks(trials, 70.0) == [
        (10.0, "2", 1),
        (pytest.approx(20.2), "1", None),
        (30.0, "2", 0),
    ]


def test_changes_that_would_be_drawn_over_each_other_are_one_mark(tmp_path):
    both = [done(CUT, 20, 20.2), done(NARROW, 20, 20.9)]
    result = changed_study(tmp_path / "results", {"native": both, "p4p": both})
    assert change_marks(result.trials, 70.0) == [(pytest.approx(20.2), "1, 2", None)]


def test_a_link_whose_rate_changed_is_drawn_by_the_capacity_that_it_had(tmp_path):
    """From 6 to 3 Mbit/s in the middle between two counts, under a load that follows."""
    network = four_isps(1)
    folder = write_results(tmp_path / "results", network, policies={"native": (0.2, 20.0)}, blocks=4)
    (trial,) = folder.glob("native-*")
    way = {"rate_bps": 3_000_000, "delay_s": 0.005, "loss": 0}
    event = {"event": "controller", "kind": "change", "link": BORDER, "forward": way, "backward": way}
    (trial / "events.jsonl").write_text(json.dumps({"t_ns": ns(5.5), **event}) + "\n")
    full = [6e6 / 8 * min(second, 5.5) + 3e6 / 8 * max(0, second - 5.5) for second in range(60)]
    rows = [
        {"t_ns": ns(second), "link": BORDER, "direction": end, "bytes": round(count), "packets": 1}
        for end in BORDER.split("--")
        for second, count in enumerate(full)
    ]
    write_table(trial, "links", [{"drops": 0, "backlog": 0, **row} for row in rows])
    series = study(folder).trials[0].series[BORDER]
    assert len(series) > 10
    assert series == pytest.approx([1.0] * len(series), abs=1e-5)
