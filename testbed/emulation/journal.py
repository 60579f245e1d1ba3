"""Who owns what: a run's tag, its folder, and the list of what it made, written before it is made.

A run keeps `/run/testbed/<tag>/`: its journal, sockets and the database of its Open vSwitch. All that it
makes carries the tag: namespaces are named `<tag>.<host>`, interfaces `<tag>...`, processes have
`TESTBED_RUN=<tag>` in their environment. `clean` removes exactly that, whoever died before. /run is a tmpfs,
so that a reboot leaves nothing; in a container where it is on a disk, what a reboot leaves is a dead run's.
"""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

RUNS = Path("/run/testbed")
NAMESPACES = Path("/run/netns")
RUN_VARIABLE = "TESTBED_RUN"
_MEMORY = Path("/dev/shm")
_KILL_AFTER_S = 0.5
# The kernel closes what a killed process had open one by one: some seconds for a switch of hundreds of ports.
_GONE_AFTER_S = 30.0
_FOLDERS_GONE_AFTER_S = 2.0
_LOOK_S = 0.02


@dataclass(frozen=True)
class RunInfo:
    """A run as its folder shows it. `alive` means that the program that started it still runs."""

    tag: str
    folder: Path
    experiment: str
    pid: int
    started_s: float
    user: str
    alive: bool
    namespaces: tuple[str, ...]


@dataclass(frozen=True)
class Cleaned:
    """What `clean` removed of one run."""

    tag: str
    processes: int
    namespaces: int


class Journal:
    """The journal of a living run. Its lock is held until `close`, or until the process dies."""

    def __init__(self, tag: str, folder: Path, file: IO[str]) -> None:
        self.tag = tag
        self.folder = folder
        self._file = file

    @staticmethod
    def create(experiment: str) -> Journal:
        """Start a run under a fresh tag. Raises PermissionError without root."""
        RUNS.mkdir(mode=0o755, parents=True, exist_ok=True)
        with _registry():
            tag = next(tag for tag in _fresh_tags() if not (RUNS / tag).exists())
            folder = RUNS / tag
            folder.mkdir(mode=0o700)
            file = (folder / "journal.jsonl").open("a", encoding="utf-8")
            fcntl.flock(file, fcntl.LOCK_EX)
            journal = Journal(tag, folder, file)
            journal._write(
                {
                    "kind": "run",
                    "experiment": experiment,
                    "pid": os.getpid(),
                    "started_s": time.time(),
                    "user": os.environ.get("SUDO_USER") or getpass.getuser(),
                }
            )
        # Inherited by all that this process calls, be it for a moment: its own environment as others see it,
        # that of its start, stays.
        os.environ[RUN_VARIABLE] = tag
        return journal

    def namespace(self, name: str) -> None:
        """Note a namespace that is about to be made."""
        self._write({"kind": "netns", "name": name})

    def memory_folder(self) -> Path:
        """Note and make the run's folder for what peers download: in memory, where the machine has that."""
        path = downloads_base(self.folder) / f"testbed-{self.tag}"
        self._write({"kind": "folder", "path": str(path)})
        path.mkdir(mode=0o700)
        return path

    def process(self, name: str, arguments: Sequence[str]) -> None:
        """Note a process that is about to start. It is found again by its environment, not by its id."""
        self._write({"kind": "process", "name": name, "arguments": list(arguments)})

    def close(self) -> Cleaned:
        """End the run: whatever is still there of it is removed, the folder last."""
        if os.environ.get(RUN_VARIABLE) == self.tag:
            del os.environ[RUN_VARIABLE]
        try:
            return remove_run(self.tag, self.folder)
        finally:
            self._file.close()

    def _write(self, entry: dict[str, object]) -> None:
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()


def downloads_base(otherwise: Path) -> Path:
    """Where runs keep what peers download: in memory, or `otherwise` where that can't be written to."""
    return _MEMORY if os.access(_MEMORY, os.W_OK) else otherwise


def runs() -> list[RunInfo]:
    """All runs that left a folder, the living and the dead."""
    if not RUNS.exists():
        return []
    with _registry():
        return [_run_info(folder) for folder in sorted(RUNS.glob("tb*"))]


def _run_info(folder: Path) -> RunInfo:
    # First: a run that ends in this moment takes its journal away, and shows neither entries nor a lock.
    alive = _is_locked(folder / "journal.jsonl")
    entries = list(_entries(folder / "journal.jsonl"))
    head = next((entry for entry in entries if entry["kind"] == "run"), {})
    return RunInfo(
        tag=folder.name,
        folder=folder,
        experiment=str(head.get("experiment", "?")),
        pid=int(head.get("pid", 0)),
        started_s=float(head.get("started_s", 0.0)),
        user=str(head.get("user", "?")),
        alive=alive,
        namespaces=tuple(str(e["name"]) for e in entries if e["kind"] == "netns"),
    )


@contextmanager
def _registry() -> Iterator[None]:
    """Keep others from listing runs while one is born: a folder that is not locked yet looks dead."""
    descriptor = os.open(RUNS, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _fresh_tags() -> Iterator[str]:
    while True:
        yield f"tb{secrets.token_hex(2)}"


def remove_run(tag: str, folder: Path) -> Cleaned:
    """Remove all processes, namespaces and files of run `tag`, and nothing else. Safe to repeat.

    Raises OSError where the kernel refuses, for example without root.
    """
    killed = _end_processes(tag)
    names = sorted(
        {str(entry["name"]) for entry in _entries(folder / "journal.jsonl") if entry["kind"] == "netns"}
        | {path.name for path in NAMESPACES.glob(f"{tag}.*")}
    )
    present = [name for name in names if (NAMESPACES / name).exists()]
    if present:
        # One process for all: each deletion takes its links, switches' ports and qdiscs with it.
        lines = "".join(f"netns del {name}\n" for name in present)
        subprocess.run(
            ["ip", "-force", "-batch", "-"], input=lines, text=True, capture_output=True, check=False
        )
    left = [name for name in present if (NAMESPACES / name).exists()]
    if left:
        raise OSError(f"namespaces that could not be deleted: {', '.join(left)}")
    _remove_folders([_MEMORY / f"testbed-{tag}", folder])
    return Cleaned(tag, killed, len(present))


def processes_of(tag: str) -> list[int]:
    """The ids of all living processes that carry `tag` in their environment, or live in its namespaces."""
    inodes = set()
    for path in NAMESPACES.glob(f"{tag}.*"):
        try:
            inodes.add(path.stat().st_ino)
        except OSError:
            continue
    marker = f"{RUN_VARIABLE}={tag}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            inside = (entry / "ns/net").stat().st_ino in inodes
            marked = inside or marker in (entry / "environ").read_bytes().split(b"\0")
            if marked and _state(entry) not in "ZX":
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def _end_processes(tag: str) -> int:
    """End all processes of a run: asked first, then killed. Returns how many there were.

    Raises OSError where one does not even end then.
    """
    waiting = found = processes_of(tag)
    _signal_all(waiting, signal.SIGTERM)
    start = time.monotonic()
    while waiting:
        time.sleep(_LOOK_S)
        waiting = processes_of(tag)
        if time.monotonic() - start > _KILL_AFTER_S:
            # At each look, as a process that is being killed may just have started another.
            _signal_all(waiting, signal.SIGKILL)
        if waiting and time.monotonic() - start > _GONE_AFTER_S:
            raise OSError(f"processes that could not be ended: {', '.join(map(str, waiting))}")
    return len(found)


def _signal_all(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _remove_folders(folders: Sequence[Path]) -> None:
    """Remove folders whole. Raises OSError where something stays, for example without root.

    A program that the run had called for a moment may still write its file there: hence more than once.
    """
    deadline = time.monotonic() + _FOLDERS_GONE_AFTER_S
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
        while folder.exists():
            if time.monotonic() > deadline:
                raise OSError(f"{folder} could not be removed")
            time.sleep(_LOOK_S)
            shutil.rmtree(folder, ignore_errors=True)


def _state(process: Path) -> str:
    return (process / "stat").read_text().rpartition(")")[2].split()[0]


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    """The entries of a journal; a last line that a crash cut short is left out."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue


def _is_locked(path: Path) -> bool:
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
