"""What a run leaves on the machine, looked up from outside: by its tag, with the system's own tools."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

NAMESPACES = Path("/run/netns")
RUNS = Path("/run/testbed")
MEMORY = Path("/dev/shm")
TEMPORARY = Path("/tmp")


def of_run(tag: str) -> list[str]:
    """Everything on the machine that carries the tag: empty where the run is gone."""
    return [
        *(f"namespace {path.name}" for path in NAMESPACES.glob(f"*{tag}*")),
        *(f"interface {name}" for name in interfaces() if name.startswith(tag)),
        *(f"mount {mount}" for mount in mounts() if tag in mount),
        *(f"folder {path}" for base in (RUNS, MEMORY, TEMPORARY) for path in base.glob(f"*{tag}*")),
        *(f"process {pid}" for pid in processes(tag)),
    ]


def mounts() -> list[str]:
    """Where something is mounted."""
    return [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]


def interfaces(namespace: str = "") -> list[str]:
    """The names of the interfaces in a namespace, or in the machine's own."""
    inside = ["-n", namespace] if namespace else []
    done = subprocess.run(["ip", "-j", *inside, "link"], capture_output=True, text=True, check=True)
    return [str(item["ifname"]) for item in json.loads(done.stdout)]


def inhabitants(tag: str, host: str) -> list[int]:
    """The processes in the namespace of a host."""
    done = subprocess.run(
        ["ip", "netns", "pids", f"{tag}.{host}"], capture_output=True, text=True, check=False
    )
    return [int(pid) for pid in done.stdout.split()]


def processes(tag: str) -> list[int]:
    """The ids of living processes whose environment or command line names the tag."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            told = (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if tag.encode() in told and state not in "ZX":
            found.append(int(entry.name))
    return found
