"""The choice of engines and the list of checks behind `testbed doctor`, without root."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import pytest

from testbed.emulation.capabilities import (
    NETEM,
    OVS_KERNEL_DATAPATH,
    REDIRECTION,
    TAP,
    Capabilities,
    Check,
    Engines,
    Result,
    all_checks,
    choose_engines,
    fixes,
    module_mend,
    probe,
)
from testbed.emulation.probes import (
    Finding,
    State,
    administrator_path,
    attempt,
    cgroups_in,
    program,
    python_finding,
    python_package,
    version_in,
)


def result(
    name: str, state: State, *, required: bool = False, fix: tuple[tuple[str, ...], ...] = ()
) -> Result:
    finding = Finding(state, "")
    check = Check(name, "machine", lambda: finding, "meaning", "mend it", required=required, fix=fix)
    return Result(check, finding)


@pytest.mark.parametrize(
    ("ovs", "netem", "tap", "expected"),
    [
        ("ok", "ok", "ok", Engines("system", "netem")),
        ("missing", "ok", "ok", Engines("netdev", "netem")),
        ("ok", "missing", "ok", Engines("system", "line")),
        ("ok", "missing", "missing", Engines("system", "none")),
        ("unknown", "unknown", "unknown", Engines("netdev", "none")),
        ("degraded", "degraded", "degraded", Engines("netdev", "none")),
    ],
)
def test_engines_are_the_best_that_work(ovs: State, netem: State, tap: State, expected: Engines) -> None:
    results = (result(OVS_KERNEL_DATAPATH, ovs), result(NETEM, netem), result(TAP, tap))
    assert choose_engines(Capabilities((*results, result(REDIRECTION, "ok")))) == expected
    # Both ways of delaying pass packets from device to device.
    assert choose_engines(Capabilities((*results, result(REDIRECTION, "missing")))).delay == "none"


def test_engines_without_any_probing_are_those_that_work_everywhere() -> None:
    assert choose_engines(Capabilities(())) == Engines("netdev", "none")


def test_a_machine_is_ready_unless_something_required_is_not_ok() -> None:
    assert Capabilities((result("a", "ok", required=True), result("b", "missing"))).ready
    for state in ("missing", "degraded", "unknown"):
        assert not Capabilities((result("a", state, required=True),)).ready


def test_fixes_come_once_each_in_order_and_only_for_what_is_wrong() -> None:
    install, load = ("bash", "install.sh"), ("modprobe", "sch_netem")
    capabilities = Capabilities(
        (
            result("fine", "ok", fix=(("never",),)),
            result("untried", "unknown", fix=(("never",),)),
            result("netem", "missing", fix=(load,)),
            result("mnexec", "missing", fix=(install,)),
            result("ping", "degraded", fix=(install,)),
        )
    )
    assert fixes(capabilities) == (load, install)


def test_the_list_has_one_check_a_name_and_each_says_what_it_means() -> None:
    checks = all_checks()
    assert len({check.name for check in checks}) == len(checks)
    assert all(check.meaning for check in checks)
    assert {NETEM, OVS_KERNEL_DATAPATH} <= {check.name for check in checks}
    assert [key for key, _ in itertools.groupby(checks, lambda check: check.group)] == [
        "machine",
        "kernel",
        "program",
        "python",
    ]


def test_probing_this_machine_raises_nothing_and_what_is_not_ok_says_how_to_mend_it() -> None:
    for found in probe(all_checks()).results:
        assert found.finding.found, found.check.name
        assert found.state == "ok" or found.mend, found.check.name


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to lose it")
def test_without_root_kernel_features_are_unknown_and_not_missing() -> None:
    code = (
        "import os; os.setuid(65534)\n"
        "from testbed.emulation.capabilities import all_checks, probe\n"
        "tried = [c for c in all_checks() if c.name in ('veth', 'HTB', 'netem', 'TUN/TAP')]\n"
        "print({result.state for result in probe(tried).results})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "{'unknown'}"


def test_a_missing_result_carries_its_mend_into_json_and_an_ok_one_does_not() -> None:
    assert result("a", "missing").to_json()["mend"] == "mend it"
    assert result("a", "ok").to_json()["mend"] == ""
    assert "sudo" in result("a", "unknown").to_json()["mend"]


@pytest.mark.parametrize(
    ("has_modules", "distribution", "words"),
    [
        (True, "debian", "sudo modprobe sch_netem"),
        (True, "ubuntu", "sudo apt-get install linux-modules-extra-6.8.0-45 && sudo modprobe sch_netem"),
        (False, "debian", "this kernel (6.8.0-45) has no modules"),
    ],
)
def test_a_kernel_module_is_mended_as_the_machine_allows(
    has_modules: bool, distribution: str, words: str
) -> None:
    text = module_mend("sch_netem", "6.8.0-45", has_modules=has_modules, distribution=distribution)
    assert text.startswith(words)


@pytest.mark.parametrize(
    ("mounts", "expected"),
    [
        ("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0", Finding("ok", "v2")),
        ("cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0", Finding("ok", "v1 (memory)")),
        (
            "cgroup /c/cpu cgroup rw,relatime,cpu 0 0\ncgroup2 /c/unified cgroup2 rw 0 0",
            Finding("ok", "v1 (cpu) beside v2"),
        ),
        ("cgroup /c/systemd cgroup rw,name=systemd 0 0", Finding("degraded", "none mounted")),
        ("tmpfs /tmp tmpfs rw 0 0\n\n", Finding("degraded", "none mounted")),
    ],
)
def test_cgroup_hierarchies_are_read_from_the_mount_table(mounts: str, expected: Finding) -> None:
    assert cgroups_in(mounts) == expected


@pytest.mark.parametrize(
    ("words", "version"),
    [
        ("ovs-vswitchd (Open vSwitch) 3.1.0\nDPDK 22.11", "3.1.0"),
        ("ip utility, iproute2-6.1.0, libbpf 1.1.2", "6.1.0"),
        ("ping from iputils 20221126", "20221126"),
        ("ethtool version 6.1", "6.1"),
        ("no number", ""),
    ],
)
def test_a_version_is_found_in_a_programs_words(words: str, version: str) -> None:
    assert version_in(words) == version


def test_a_program_that_is_not_installed_is_missing_and_one_that_fails_is_degraded() -> None:
    assert program("testbed-no-such-program", "-V")() == Finding("missing", "not installed")
    assert program("false", "-V")().state == "degraded"


def test_a_package_that_cannot_be_imported_is_missing_with_the_reason() -> None:
    found = python_package("testbed_no_such_module", "nothing")()
    assert found.state == "missing"
    assert "testbed_no_such_module" in found.found


def test_only_the_tested_pythons_are_ok() -> None:
    states = {version: python_finding(version, "").state for version in [(3, 9), (3, 10), (3, 12), (3, 13)]}
    assert states == {(3, 9): "degraded", (3, 10): "ok", (3, 12): "ok", (3, 13): "degraded"}


def test_an_attempt_reports_a_missing_program_and_passes_stdin() -> None:
    assert not attempt("testbed-no-such-program").ok
    assert attempt("cat", stdin="hello").text == "hello"


def test_the_administrators_folders_are_searched_after_the_users_own() -> None:
    assert administrator_path({"PATH": "/usr/bin:/usr/sbin"}) == "/usr/bin:/usr/sbin:/usr/local/sbin:/sbin"
    assert administrator_path({}) == "/usr/local/sbin:/usr/sbin:/sbin"
