"""docs/alto.md: its portal answers what the page says, and the page has every resource and cost type."""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from testbed.portal.alto import documents, performance
from testbed.portal.alto.model import ProtocolError, Query
from testbed.portal.config import PortalConfig
from testbed.portal.publication import initial

PAGE = (Path(__file__).parents[3] / "docs" / "alto.md").read_text(encoding="utf-8")
CONFIG = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
GETS = re.findall(r"`GET (\S+)`\n\n```json\n(.*?)```", PAGE, re.DOTALL)
POSTS = re.findall(
    r"`POST (\S+)`\n\n```json\n(.*?)```\n\nis answered by\n\n```json\n(.*?)```", PAGE, re.DOTALL
)

PUBLISHED = initial(PortalConfig.model_validate(YAML(typ="safe").load(CONFIG[0])))
ENTRIES = {entry.path: entry for entry in documents.entries(PUBLISHED)}
ASKED = datetime(2026, 3, 2, 13, 30, tzinfo=timezone.utc)


def answer(path: str, body: str) -> Any:
    """The content of the answer, with tags of eight digits."""
    try:
        document = ENTRIES[path].answer(Query(body.encode(), "10.1.0.5", ASKED.timestamp()))
    except ProtocolError as error:
        document = documents.error_document(error)
    return json.loads(re.sub(r'"tag":"([0-9a-f]{8})[0-9a-f]{56}"', r'"tag":"\1"', document.body.decode()))


def test_every_example_is_one_that_is_tested() -> None:
    assert len(CONFIG) == 1
    assert len(GETS) + 2 * len(POSTS) == PAGE.count("```json")
    assert (len(GETS), len(POSTS)) == (4, 8)


@pytest.mark.parametrize(("path", "expected"), GETS)
def test_a_get_answers_what_the_page_says(path: str, expected: str) -> None:
    assert answer(path, "") == json.loads(expected)


@pytest.mark.parametrize(("path", "body", "expected"), POSTS)
def test_a_post_answers_what_the_page_says(path: str, body: str, expected: str) -> None:
    assert answer(path, body) == json.loads(expected)


def test_the_table_of_resources_is_that_of_the_default_map() -> None:
    rows = re.findall(
        r"^\| `([^`]+)` \| `([^`]+)` \| (GET|POST)(?: `([^`]+)`)? \| `([^`]+)` \|$", PAGE, re.MULTILINE
    )
    shown = {
        (id.replace("<cost type>", name), path.replace("<cost type>", name), accepts, answers)
        for id, path, _, accepts, answers in rows
        for name in [kind.name for kind in PUBLISHED.cost_types]
    }
    assert shown == {
        (
            entry.id,
            entry.path,
            entry.accepts.removeprefix("application/"),
            entry.answers.removeprefix("application/"),
        )
        for entry in ENTRIES.values()
        if not entry.path.startswith("/maps/")
    }


def test_the_table_of_cost_types_is_what_there_is() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (numerical|ordinal) \| `([a-z-]+)` \|", PAGE, re.MULTILINE)
    assert rows == [(kind.name, kind.mode, kind.metric) for kind in PUBLISHED.cost_types]
    assert len(rows) == 2 + len(performance.METRICS)
