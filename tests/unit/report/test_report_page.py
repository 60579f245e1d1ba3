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
from testbed.report.html import write_report
from testbed.report.plots import network_plot, place_pops
from testbed.report.tables import losers, render_terminal
from testbed.topology.model import Network

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
