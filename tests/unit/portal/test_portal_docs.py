"""docs/portal.md: every example is a file that works, every key is explained."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from testbed.config_file import load_config
from testbed.portal.config import AccessConfig, FaultsConfig, PortalConfig
from testbed.portal.publication import initial, resolved
from testbed.spec.experiment import load_experiment
from testbed.spec.portals import FaultsSpec, PortalSettings, PortalsSpec

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "portal.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
FILES = [block for block in BLOCKS if "\nlisten:" in block]
SECTIONS = [block for block in BLOCKS if block.startswith("portals:")]


def test_there_are_examples_of_both_kinds() -> None:
    assert len(FILES) == 4
    assert len(FILES) + len(SECTIONS) == len(BLOCKS)


@pytest.mark.parametrize("block", FILES)
def test_every_configuration_of_the_docs_publishes_a_map(
    tmp_path: Path, block: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    path = tmp_path / "portal.yaml"
    path.write_text(block, encoding="utf-8")
    published = initial(resolved(load_config(path, PortalConfig)))
    assert published.isp == load_config(path, PortalConfig).isp
    assert published.costs


@pytest.mark.parametrize("block", SECTIONS)
def test_every_section_of_the_docs_is_one_of_an_experiment(tmp_path: Path, block: str) -> None:
    text = (ROOT / "experiments" / "quickstart.yaml").read_text(encoding="utf-8")
    path = tmp_path / "experiment.yaml"
    path.write_text(text.replace("../topologies", str(ROOT / "topologies")) + block)
    assert load_experiment(path)[0].portals.isps


@pytest.mark.parametrize(
    "model", [PortalConfig, AccessConfig, FaultsConfig, PortalsSpec, PortalSettings, FaultsSpec]
)
def test_every_key_is_explained(model: type) -> None:
    fields = model.model_fields  # type: ignore[attr-defined]
    assert [name for name in fields if not re.search(rf"[`{{, \[]{name}[`:,}} ]", PAGE)] == []
