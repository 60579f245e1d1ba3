"""docs/pricing.md explains every key, with the default that it has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from testbed.portal import pricing
from testbed.portal.config import ChargingConfig, DisclosureConfig, PricingConfig, StepConfig

PAGE = (Path(__file__).parents[3] / "docs" / "pricing.md").read_text(encoding="utf-8")
ROWS = {
    match[1]: (match[2], match[3])
    for match in re.finditer(r"^\| `([a-z_.]+)` \| (.+?) \| ([^|]+) \|$", PAGE, re.MULTILINE)
}
SECTIONS = {
    "pricing": PricingConfig,
    "pricing.step": StepConfig,
    "pricing.charging": ChargingConfig,
    "disclosure": DisclosureConfig,
}
KEYS = [
    (f"{section}.{name}", field.default)
    for section, model in SECTIONS.items()
    for name, field in model.model_fields.items()
    if f"{section}.{name}" not in SECTIONS
]


@pytest.mark.parametrize(("key", "default"), KEYS, ids=[key for key, _ in KEYS])
def test_every_key_is_explained_with_its_default(key: str, default: object) -> None:
    meaning, shown = ROWS[key]
    assert len(meaning) > 10
    if isinstance(default, bool):
        expected = str(default).lower()
    elif default is None:
        expected = ""
    else:
        expected = f"{default:g}" if isinstance(default, float) else str(default)
    assert expected in shown.replace("`", "").split(" ") or not expected


def test_no_key_is_explained_that_there_is_none_of() -> None:
    explained = [key for key in ROWS if key.startswith(("pricing.", "disclosure."))]
    assert sorted(explained) == sorted(key for key, _ in KEYS)


def test_the_sizes_of_steps_are_those_of_the_code() -> None:
    _, shown = ROWS["pricing.step.size"]
    assert [float(number) for number in re.findall(r"[0-9.]+[0-9]|[0-9]", shown)] == [
        *pricing.STEP_SIZE.values(),
        pricing.CLIP_NORMALISE_STEP,
    ]


def test_nothing_was_left_open() -> None:
    assert "@@" not in PAGE


def test_every_image_is_there() -> None:
    for image in re.findall(r"\]\(images/([^)]+)\)", PAGE):
        assert (Path(__file__).parents[3] / "docs" / "images" / image).is_file()
