"""What only a kernel with Open vSwitch's datapath shows: a run has a datapath of its own.

Elsewhere all of it is skipped; `tests/kernel/uml.sh` brings such a kernel.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import small_experiment

from testbed.emulation.capabilities import Engines, probe_engines
from testbed.trial.laboratory import Laboratory
from testbed.trial.plan import TrialPlan

pytestmark = [
    pytest.mark.emulation,
    pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="building networks needs root"),
]
KERNEL = Engines("system", "netem")


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> TrialPlan:
    return small_experiment.plans(tmp_path_factory.mktemp("spec"))[0]


def test_a_run_has_a_kernel_datapath_of_its_own_that_goes_with_it(plan: TrialPlan, tmp_path: Path) -> None:
    engines = probe_engines()
    if engines != KERNEL:
        pytest.skip(f"this kernel gives {engines.datapath} and {engines.delay}: see tests/kernel/uml.sh")
    before = datapath_ports()
    with Laboratory(plan, tmp_path / "lab", engines, lambda _: None) as lab:
        lab.build_network()
        (group,) = lab.net.blueprint.groups
        inside = datapath_ports(lab.net.blueprint.namespace(group.name))
        bridges = lab.net.blueprint.bridges().values()
        assert {port.device for bridge in bridges for port in bridge.ports} < inside
        assert datapath_ports() == before
    assert datapath_ports() == before


def datapath_ports(namespace: str = "") -> set[str]:
    """The ports of all kernel datapaths of a namespace, or of the machine's own."""
    inside = ["ip", "netns", "exec", namespace] if namespace else []
    done = subprocess.run([*inside, "ovs-dpctl", "show"], capture_output=True, text=True, check=True)
    return set(re.findall(r"port \d+: (\S+)", done.stdout))
