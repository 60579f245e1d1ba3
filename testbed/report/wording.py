"""Numbers and comparisons in words: units as people read them, and the answer of an experiment in a sentence.

In go estimates of the analysis; out come plain strings, not yet escaped for any format.
"""

from __future__ import annotations

from typing import Literal

from testbed.analysis.definitions import METRICS
from testbed.analysis.statistics import Estimate
from testbed.analysis.summary import Summary

Judgement = Literal["better", "worse", "same", "unclear", ""]

SAME_SHARE = 0.01  # a difference below one per cent of a single repeat is nobody's win
_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def quantity(value: float, unit: str) -> str:
    """A value with its unit, three digits: `173 MB`, `390 kbit/s`, `84.2 s`, `24.3 %`."""
    if unit == "bytes":
        return _prefixed(value, "B")
    if unit == "bit/s":
        return _prefixed(value, "bit/s")
    if unit == "share":
        return f"{value * 100:.1f} %"
    if unit == "s":
        return f"{value:.1f} s"
    if unit == "leechers":
        return f"{value:g}"
    if unit == "index":
        return f"{value:.3f}"
    if unit == "links":
        return f"{value:.2f}"
    return f"{value:.2f} {unit.removesuffix('/month')}"  # the label says that it is a month's bill


def interval(estimate: Estimate, unit: str) -> str:
    """`80.1 to 88.3 s`, empty with a single repeat and where all repeats are equal."""
    if estimate.low is None or estimate.high is None or estimate.low == estimate.high:
        return ""
    low, high = quantity(estimate.low, unit), quantity(estimate.high, unit)
    number, _, low_unit = low.partition(" ")
    return f"{number if low_unit == high.partition(' ')[2] else low} to {high}"


def percent(share: float) -> str:
    """A relative difference with its sign: `+12 %`, `−3.4 %`; one digit more below ten per cent."""
    value = share * 100
    text = f"{abs(value):.0f}" if abs(value) >= 9.95 else f"{abs(value):.1f}"
    sign = "" if float(text) == 0 else "−" if value < 0 else "+"
    return f"{sign}{text} %"


def percent_interval(estimate: Estimate) -> str:
    """`−45 to −30 %`, empty with a single repeat."""
    if estimate.low is None or estimate.high is None:
        return ""
    return f"{percent(estimate.low).removesuffix(' %')} to {percent(estimate.high)}"


def judge(difference: Estimate | None, metric: str) -> Judgement:
    """Whether a difference to the first policy is for the better. Never `better` where the interval holds
    zero.
    """
    better = METRICS[metric].better
    if difference is None or better is None:
        return ""
    if difference.low is None:
        if abs(difference.mean) < SAME_SHARE:
            return "same"
    elif not difference.excludes_zero:
        return "unclear"
    return "better" if (difference.mean < 0) == (better == "lower") else "worse"


def answer(summary: Summary) -> list[str]:
    """What the experiment found: whether to trust it, a sentence a policy, and what limits it."""
    first = summary.policies[0]
    sentences = [_distrust(summary)] if summary.suspect else []
    if summary.scale is None:
        sentences.append("Its trials ran with different scales of all rates, and do not compare.")
    if len(summary.policies) == 1:
        sentences.append(_alone(summary, first))
    sentences += [_comparison(summary, policy, first) for policy in summary.policies[1:]]
    sentences += [text for policy in summary.policies if (text := _unfinished(summary, policy))]
    if len(summary.trials) == len(summary.policies) > 1:
        sentences.append("There was one repeat of each policy, so chance is not ruled out.")
    return sentences


def _distrust(summary: Summary) -> str:
    return (
        f"This result cannot be trusted: {len(summary.suspect)} of {len(summary.trials)} trials are suspect."
    )


def _alone(summary: Summary, policy: str) -> str:
    time, traffic = summary.cell(policy, "completion_s.mean"), summary.cell(policy, "interdomain_bytes")
    parts = []
    if time:
        parts.append(f"leechers finished after {quantity(time.estimate.mean, time.unit)} in the mean")
    if traffic:
        parts.append(f"{quantity(traffic.estimate.mean, traffic.unit)} crossed links between ISPs")
    return f"With {policy}, {' and '.join(parts) or 'nothing was measured'}."


def _comparison(summary: Summary, policy: str, first: str) -> str:
    """One sentence on traffic and time. What clearly differs comes first, then what does not."""
    traffic = summary.difference(policy, "interdomain_bytes")
    time = summary.difference(policy, "completion_s.mean")
    clear, vague = [], []
    for difference, metric, verb, words, subject in (
        (
            traffic,
            "interdomain_bytes",
            "sent",
            ("less between ISPs", "more between ISPs"),
            "traffic between ISPs",
        ),
        (time, "completion_s.mean", "finished", ("sooner", "later"), "completion time"),
    ):
        verdict = judge(difference, metric)
        if difference is None:
            vague.append(f"its {subject} could not be compared")
        elif verdict == "same":
            vague.append(f"its {subject} was about the same")
        elif verdict == "unclear":
            vague.append(
                f"its {subject} did not clearly differ (95 % interval {percent_interval(difference)})"
            )
        else:
            word = words[0] if difference.mean < 0 else words[1]
            clear.append(f"{verb} {_size(difference)} {word}{_range(difference)}")
    if not clear:
        return f"{policy} against {first}: {' and '.join(vague)}."
    return f"{policy} {' and '.join(clear)} than {first}{''.join(f'; {text}' for text in vague)}."


def _size(difference: Estimate) -> str:
    return percent(difference.mean).lstrip("−+")


def _range(difference: Estimate) -> str:
    if difference.low is None or difference.high is None:
        return ""
    low, high = sorted((abs(difference.low), abs(difference.high)))
    return f" (95 % interval {percent(low).strip('+ %')} to {percent(high).lstrip('+')})"


def _unfinished(summary: Summary, policy: str) -> str:
    cell = summary.cell(policy, "unfinished")
    if cell is None or cell.estimate.mean == 0:
        return ""
    count = quantity(cell.estimate.mean, cell.unit)
    if count == "1":
        return f"With {policy}, 1 leecher did not finish and is left out of the times."
    return f"With {policy}, {count} leechers did not finish and are left out of the times."


def _prefixed(value: float, unit: str) -> str:
    for factor, prefix in _PREFIXES:
        if abs(value) >= factor:
            return f"{_three_digits(value / factor)} {prefix}{unit}"
    return f"{value:.0f} {unit}"


def _three_digits(value: float) -> str:
    return (
        f"{value:.0f}" if abs(value) >= 99.95 else f"{value:.1f}" if abs(value) >= 9.995 else f"{value:.2f}"
    )
