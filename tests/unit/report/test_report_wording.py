"""What numbers and comparisons read like, and that no win is claimed that is none."""

from __future__ import annotations

import pytest

from testbed.analysis.statistics import Estimate
from testbed.analysis.summary import Cell, Summary, TrialVerdict
from testbed.report.wording import answer, interval, judge, percent, percent_interval, quantity


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (173_354_546, "bytes", "173 MB"),
        (8_454_000, "bytes", "8.45 MB"),
        (99_960, "bytes", "100 kB"),
        (12, "bytes", "12 B"),
        (390_372, "bit/s", "390 kbit/s"),
        (84.24, "s", "84.2 s"),
        (0.243, "share", "24.3 %"),
        (3.0, "leechers", "3"),
        (19.034, "EUR/month", "19.03 EUR"),
    ],
)
def test_quantities(value, unit, text):
    assert quantity(value, unit) == text


def test_intervals_name_their_unit_once_where_it_is_one():
    assert interval(Estimate(2e6, 1.5e6, 2.5e6, 3), "bytes") == "1.50 to 2.50 MB"
    assert interval(Estimate(1e6, 9e5, 1.1e6, 3), "bytes") == "900 kB to 1.10 MB"
    assert interval(Estimate(1e6, None, None, 1), "bytes") == ""
    assert percent_interval(Estimate(-0.4, -0.5, 0.05, 3)) == "−50 to +5.0 %"


def test_percent_has_a_sign_but_not_of_nothing():
    assert [percent(x) for x in (-0.4, 0.034, 0.0001, -0.0001)] == ["−40 %", "+3.4 %", "0.0 %", "0.0 %"]


def test_nothing_is_better_whose_interval_contains_zero():
    assert judge(Estimate(-0.4, -0.9, 0.1, 3), "completion_s.mean") == "unclear"
    assert judge(Estimate(-0.4, -0.5, -0.3, 3), "completion_s.mean") == "better"
    assert judge(Estimate(-0.4, -0.5, -0.3, 3), "rate_bps") == "worse"
    assert judge(Estimate(-0.4, None, None, 1), "completion_s.mean") == "better"
    assert judge(Estimate(0.005, None, None, 1), "completion_s.mean") == "same"
    assert judge(Estimate(0.5, None, None, 1), "bytes_same_pid") == ""


def summary(traffic=None, time=None, *, repeats=1, suspect=False, unfinished=0.0, policies=("native", "p4p")):
    cells = {
        (p, "unfinished", "all"): Cell(Estimate(unfinished, None, None, 1), "leechers") for p in policies
    }
    cells["native", "completion_s.mean", "all"] = Cell(Estimate(84.2, None, None, 1), "s")
    differences = {("p4p", "interdomain_bytes", "all"): traffic, ("p4p", "completion_s.mean", "all"): time}
    verdict = ("suspect", ("the processor was busy",)) if suspect else ("valid", ())
    return Summary(
        experiment="quickstart",
        policies=policies,
        isps=(),
        cells=cells,
        differences={key: value for key, value in differences.items() if value},
        busiest_link={},
        trials=tuple(TrialVerdict(f"{p}{r}", p, r, *verdict) for p in policies for r in range(repeats)),
    )


def once(mean):
    return Estimate(mean, None, None, 1)


@pytest.mark.parametrize(
    ("traffic", "time", "sentence"),
    [
        (-0.45, -0.32, "p4p sent 45 % less between ISPs and finished 32 % sooner than native."),
        (0.12, 0.25, "p4p sent 12 % more between ISPs and finished 25 % later than native."),
        (-0.45, 0.25, "p4p sent 45 % less between ISPs and finished 25 % later than native."),
        (
            -0.45,
            0.001,
            "p4p sent 45 % less between ISPs than native; its completion time was about the same.",
        ),
        (
            0.001,
            0.001,
            "p4p against native: its traffic between ISPs was about the same "
            "and its completion time was about the same.",
        ),
    ],
)
def test_the_answer_is_right_in_each_direction(traffic, time, sentence):
    assert answer(summary(once(traffic), once(time)))[0] == sentence


def test_the_answer_says_that_one_repeat_leaves_chance():
    assert "chance is not ruled out" in answer(summary(once(-0.4), once(-0.3)))[-1]
    several = answer(summary(Estimate(-0.4, -0.45, -0.35, 2), Estimate(-0.3, -0.8, 0.2, 2), repeats=2))
    assert several == [
        "p4p sent 40 % less between ISPs (95 % interval 35 to 45 %) than native; "
        "its completion time did not clearly differ (95 % interval −80 to +20 %)."
    ]


def test_a_suspect_trial_comes_before_the_numbers():
    first = answer(summary(once(-0.4), once(-0.3), suspect=True))[0]
    assert first == ("This result cannot be trusted: 2 of 2 trials are suspect.")


def test_leechers_that_did_not_finish_are_said():
    sentences = answer(summary(once(-0.4), once(-0.3), unfinished=3.0))
    assert "With p4p, 3 leechers did not finish and are left out of the times." in sentences


def test_a_single_policy_is_described_alone():
    assert answer(summary(policies=("native",)))[0].startswith("With native, leechers finished after 84.2 s")
