"""An experiment's `events:`: what a user may write, golden errors, and docs/events.md."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import small_experiment
from jsonschema import Draft202012Validator

from testbed.errors import UserError
from testbed.spec import events
from testbed.spec.events import LinkEvent, MeterEvent, MeterRemoval, PortClass
from testbed.spec.experiment import ExperimentSpec, load_experiment
from testbed.spec.loading import Spec, load_document
from testbed.spec.schema import json_schema

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```yaml\nevents:\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SPECS = [item for item in vars(events).values() if getattr(item, "__module__", "") == events.__name__]
MODELS = [item for item in SPECS if isinstance(item, type) and issubclass(item, Spec)]


def load(folder: Path, *entries: str) -> ExperimentSpec:
    path = small_experiment.write(folder)
    text = path.read_text(encoding="utf-8") + "events:\n" + "".join(f"  - {entry}\n" for entry in entries)
    path.write_text(text, encoding="utf-8")
    return load_experiment(path)[0]


def error(folder: Path, *entries: str) -> str:
    """The message, with the lines of the entries counted from 1."""
    with pytest.raises(UserError) as caught:
        load(folder, *entries)
    before = small_experiment.TEXT.count("\n") + 2
    text = str(caught.value).replace(f"{folder}/", "")
    return re.sub(r"tiny\.yaml:(\d+)", lambda match: f"entry {int(match[1]) - before}", text)


def test_entries_become_quantities(tmp_path: Path) -> None:
    link, pair, meter, port, gone = load(
        tmp_path,
        "{at: 3 s, link: left.one--carrier.hub, state: down, rate: 2 Mbit/s, loss: 1 %}",
        "{when: 50 %, link: left.one--carrier.hub, delay: [20 ms, 30 ms]}",
        "{at: 4 s, meter: slow, isp: left, class: bittorrent, rate: 1 Mbit/s}",
        "{at: 5 s, meter: slow, isp: left, pop: two, class: {protocol: tcp, port: 80}, rate: 1 Mbit/s}",
        "{at: 6 s, meter: slow, state: removed}",
    ).events
    assert isinstance(link, LinkEvent)
    assert (link.at, link.state, link.rate, link.loss) == (3.0, "down", (2_000_000, 2_000_000), (0.01, 0.01))
    assert isinstance(pair, LinkEvent)
    assert (pair.at, pair.when, pair.delay) == (None, 0.5, (0.02, 0.03))
    assert isinstance(meter, MeterEvent)
    assert (meter.traffic, meter.direction, meter.pop, meter.rate) == ("bittorrent", "out", None, 1_000_000)
    assert isinstance(port, MeterEvent)
    assert port.traffic == PortClass(protocol="tcp", port=80)
    assert isinstance(gone, MeterRemoval)


def test_an_experiment_has_no_events_and_runs_under_ryu_by_default(tmp_path: Path) -> None:
    spec, _, _, _ = load_experiment(small_experiment.write(tmp_path))
    assert (spec.events, spec.controller) == ([], "ryu")


BORDER = "link: left.one--carrier.hub"
TIMES = "  allowed: either at: 30 s or when: 50 %"
SUBJECTS = "  allowed: exactly one of link, meter, portal, tracker, controller, adopts"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (f"{{{BORDER}, state: down}}", f"events.0: names no time\n{TIMES}"),
        (f"{{at: 3 s, when: 50 %, {BORDER}, state: down}}", f"events.0: names two times\n{TIMES}"),
        (
            "{when: 50, tracker: restart}",
            "events.0.when: 50 has no unit\n  allowed: a number and %, such as 50 %",
        ),
        (
            "{when: 100 %, tracker: restart}",
            "events.0.when: '100 %' is too large\n  allowed: less than 100 %",
        ),
        (
            "{at: 60 s, tracker: restart}",
            "events.0: 60 s is not before the trial's timeout\n  allowed: less than 60 s",
        ),
        ("{at: 3 s}", f"events.0: changes nothing\n{SUBJECTS}"),
        ("{at: 3 s, portal: left, tracker: restart}", f"events.0: changes portal and tracker\n{SUBJECTS}"),
        (
            "restart",
            "events.0: 'restart' is no event\n"
            "  allowed: such as {at: 30 s, link: isp.pop--isp.pop, state: down}",
        ),
        (
            f"{{at: 3 s, {BORDER}}}",
            "events.0: says not what becomes of the link\n"
            "  allowed: at least one of state, rate, delay, loss",
        ),
        (
            f"{{at: 3 s, {BORDER}, state: sideways}}",
            "events.0.state: 'sideways' is not known\n  allowed: 'up' or 'down'",
        ),
        (
            f"{{at: 3 s, {BORDER}, rate: [1 Mbit/s, 2]}}",
            "events.0.rate.1: 2 has no unit\n"
            "  allowed: a number and one of bit/s, kbit/s, Mbit/s, Gbit/s, such as 10 Mbit/s",
        ),
        (
            f"{{at: 3 s, {BORDER}, state: up, lose: 1 %}}",
            "unknown key 'lose'\n"
            "  allowed: at, when, link, state, rate, delay, loss\n"
            "  to mend it: did you mean 'loss'?",
        ),
        ("{at: 3 s, meter: slow, isp: left, class: all}", "'rate' is missing"),
        (
            "{at: 3 s, meter: slow, isp: left, clas: all, rate: 1 Mbit/s}",
            "'class' is missing\n"
            "entry 0: unknown key 'clas'\n"
            "  allowed: at, when, meter, isp, pop, class, direction, rate\n"
            "  to mend it: did you mean 'class'?",
        ),
        (
            "{at: 3 s, meter: slow, isp: left, class: torrents, rate: 1 Mbit/s}",
            "events.0.class: 'torrents' is not known\n  allowed: 'bittorrent' or 'all'",
        ),
        (
            "{at: 3 s, meter: slow, isp: left, class: {protocol: tcp, port: 70000}, rate: 1 Mbit/s}",
            "events.0.class.port: 70000 is too large\n  allowed: at most 65535",
        ),
        (
            "{at: 3 s, meter: slow, isp: lefft, class: all, rate: 1 Mbit/s}",
            "there is no ISP 'lefft'\n  allowed: carrier, left, right\n  to mend it: did you mean 'left'?",
        ),
        (
            "{at: 3 s, meter: slow, isp: left, pop: tow, class: all, rate: 1 Mbit/s}",
            "ISP left has no PoP 'tow'\n  allowed: one, two\n  to mend it: did you mean 'two'?",
        ),
        (
            "{at: 3 s, meter: slow, state: removed}",
            "meter 'slow' is not set when it is to be removed\n"
            "  allowed: a meter that an entry before has set",
        ),
        (
            "{at: 3 s, adopts: lefft}",
            "there is no ISP 'lefft'\n  allowed: carrier, left, right\n  to mend it: did you mean 'left'?",
        ),
        ("{at: 3 s, portal: left, state: up}", "the portal of ISP left is not down"),
        (
            "{at: 3 s, portal: left}",
            "events.0: says not what becomes of the portal\n  allowed: exactly one of state and faults",
        ),
        (
            "{at: 3 s, portal: left, state: down, faults: {stale: true}}",
            "events.0: changes two things\n  allowed: exactly one of state and faults",
        ),
        (
            "{at: 3 s, controller: stop}",
            "events.0.controller: 'stop' is not known\n  allowed: 'restart'",
        ),
    ],
)
def test_a_wrong_entry_gets_this_message(tmp_path: Path, entry: str, message: str) -> None:
    assert error(tmp_path, entry) == f"entry 0: {message}"


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (
            ["{at: 3 s, adopts: left}", "{at: 9 s, adopts: left}"],
            "entry 1: ISP left adopts P4P twice, first at entry 0",
        ),
        (
            ["{at: 3 s, portal: left, state: down}", "{at: 2 s, adopts: left}"],
            "",
        ),
        (
            ["{at: 2 s, portal: left, state: down}", "{at: 3 s, adopts: left}"],
            "entry 0: ISP left has no portal before it adopts P4P",
        ),
        (
            ["{at: 9 s, portal: left, state: up}", "{at: 3 s, portal: left, state: down}"],
            "",
        ),
        (
            ["{when: 9 %, portal: left, state: up}", "{at: 3 s, portal: left, state: down}"],
            "entry 0: the portal of ISP left is not down",
        ),
        (
            ["{at: 3 s, portal: left, state: down}", "{at: 9 s, portal: left, state: down}"],
            "entry 1: the portal of ISP left is down already",
        ),
        (
            ["{at: 3 s, portal: left, state: down}", "{at: 9 s, portal: left, faults: {stale: true}}"],
            "entry 1: the portal of ISP left is down: its faults can't be set",
        ),
        (
            [
                "{at: 9 s, meter: slow, state: removed}",
                "{at: 3 s, meter: slow, isp: left, class: all, rate: 1 Mbit/s}",
            ],
            "",
        ),
        (
            [
                "{when: 10 %, meter: slow, isp: left, class: all, rate: 1 Mbit/s}",
                "{at: 3 s, meter: slow, state: removed}",
                "{at: 9 s, meter: slow, state: removed}",
            ],
            "entry 2: meter 'slow' is not set when it is to be removed\n"
            "  allowed: a meter that an entry before has set",
        ),
    ],
)
def test_entries_about_one_thing_have_to_fit_in_the_order_of_their_times(
    tmp_path: Path, entries: list[str], message: str
) -> None:
    if message:
        assert error(tmp_path, *entries) == message
    else:
        assert len(load(tmp_path, *entries).events) == 2


def test_an_isp_without_a_portal_can_neither_lose_nor_get_one(tmp_path: Path) -> None:
    path = small_experiment.write(tmp_path)
    path.write_text(
        path.read_text() + "events: [{at: 3 s, adopts: left}, {at: 3 s, portal: right, state: down}]\n"
    )
    topology = tmp_path / "small.yaml"
    topology.write_text(topology.read_text().replace("asn: 20", "asn: 20\n    portal: false"))
    with pytest.raises(UserError) as caught:
        load_experiment(path)
    assert str(caught.value) == (
        f"{path}:15: ISP left has no portal: the topology says 'portal: false'\n  allowed: carrier, right"
    )


def test_an_editor_flags_wrong_entries(tmp_path: Path) -> None:
    checker = Draft202012Validator(json_schema("experiment"))
    good = load_document(small_experiment.write(tmp_path)).data
    right = {"at": "3 s", "link": "a.b--c.d", "rate": ["1 Mbit/s", "2 Mbit/s"]}
    assert list(checker.iter_errors({**good, "events": [right]})) == []
    for change in ({"at": 3}, {"rate": 5}, {"state": "sideways"}, {"portal": "left"}):
        assert list(checker.iter_errors({**good, "events": [{**right, **change}]})) != []


# --- docs/events.md --------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", BLOCKS)
def test_every_example_of_the_docs_loads(tmp_path: Path, block: str) -> None:
    text = (ROOT / "experiments" / "quickstart.yaml").read_text(encoding="utf-8")
    path = tmp_path / "example.yaml"
    path.write_text(text.replace("../topologies", str(ROOT / "topologies")) + "events:\n" + block)
    assert load_experiment(path)[0].events


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_key_is_explained(model: type[Spec]) -> None:
    keys = [field.alias or name for name, field in model.model_fields.items()]
    assert [key for key in keys if f"`{key}`" not in PAGE and f"`{key}: restart`" not in PAGE] == []


def test_the_schema_names_every_subject() -> None:
    text = json.dumps(json_schema("experiment"))
    assert all(
        f'"{subject}"' in text for subject in ("link", "meter", "portal", "tracker", "controller", "adopts")
    )
