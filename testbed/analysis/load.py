"""Reads a trial's folder: manifest, topology, events, peers, counters, and transfers batch by batch.

In goes a folder that `testbed.trial.record` describes; out comes a `Trial`. A folder that is not whole, or
that contradicts itself, ends in a RunError that names it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from testbed.errors import Problem, RunError, UserError
from testbed.topology.model import Network
from testbed.topology.routes import Routes
from testbed.trial.history import History, read_history
from testbed.trial.record import EVENTS, MANIFEST, TOPOLOGY, UNFINISHED, read_table, table_path

ROWS_PER_BATCH = 1 << 20

Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]


class Manifest(BaseModel):
    """What the analysis needs of manifest.json; whatever else it holds is kept and not read."""

    model_config = ConfigDict(extra="allow", frozen=True)

    trial: str
    experiment: str
    policy: str
    policy_index: int = 0
    repeat: int = 0
    seed: int = 0
    scale: float = 1.0
    verdict: Literal["valid", "suspect"]
    reasons: tuple[str, ...] = ()
    active_ns: tuple[int, int]
    versions: Mapping[str, str] = {}
    kernel: str = ""
    capabilities: Mapping[str, Any] = {}
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Transfers:
    """Rows of transfers.parquet with hosts as codes: four arrays of one length."""

    t_ns: Int64
    src: Int32
    dst: Int32
    size: Int32


@dataclass(frozen=True)
class Trial:
    """A whole trial on disk. `peers`, `neighbours` and `links` are tables of `record.TABLES`."""

    folder: Path
    manifest: Manifest
    network: Network
    routes: Routes
    peers: pa.Table
    neighbours: pa.Table
    links: pa.Table
    events: tuple[Mapping[str, Any], ...] = field(default=())

    @cached_property
    def history(self) -> History:
        """What its links were set to, and which of them were cut, over time."""
        return read_history(self.network, self.events)


def trial_folders(results: Path) -> tuple[Path, ...]:
    """Folders of whole trials in a results folder, by name. Raises UserError where there is none."""
    if not results.is_dir():
        raise UserError(Problem(where=str(results), what="there is no such results folder"))
    found = tuple(
        sorted(path.parent for path in results.glob(f"*/{MANIFEST}") if path.parent.name != UNFINISHED)
    )
    if not found:
        raise UserError(
            Problem(
                where=str(results),
                what="holds no finished trial",
                allowed="results/<experiment>, with a folder for each trial",
                mend="testbed run EXPERIMENT",
            )
        )
    return found


def read_manifest(folder: Path) -> Manifest:
    """Read and check a trial's manifest.json. Raises RunError where it lacks something."""
    try:
        return Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (ValidationError, OSError) as error:
        raise RunError(f"{folder / MANIFEST} cannot be used: {error}", mend=_again(folder)) from error


def load_trial(folder: Path) -> Trial:
    """Read a trial's folder, all but its transfers. Raises RunError where a file is missing or damaged."""
    manifest = read_manifest(folder)
    try:
        topology = json.loads((folder / TOPOLOGY).read_text())
        return Trial(
            folder=folder,
            manifest=manifest,
            network=Network.from_json(topology["network"]),
            routes=Routes.from_json(topology["routes"]),
            peers=read_table(folder, "peers"),
            neighbours=read_table(folder, "neighbours"),
            links=read_table(folder, "links"),
            events=_read_events(folder / EVENTS),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:  # pyarrow raises OSError or ValueError
        raise RunError(f"trial {folder} cannot be read: {error}", mend=_again(folder)) from error


def read_transfers(folder: Path, host: Mapping[str, int]) -> Iterator[Transfers]:
    """Batches of transfers.parquet, hosts numbered by `host`. Raises RunError where it is damaged."""
    try:
        with pq.ParquetFile(table_path(folder, "transfers")) as file:
            for batch in file.iter_batches(ROWS_PER_BATCH, columns=["t_ns", "src", "dst", "bytes"]):
                yield Transfers(
                    t_ns=batch.column("t_ns").to_numpy(),
                    src=codes_of(batch.column("src"), host, folder),
                    dst=codes_of(batch.column("dst"), host, folder),
                    size=batch.column("bytes").to_numpy(),
                )
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f"transfers of {folder} cannot be read: {error}", mend=_again(folder)) from error


def codes_of(names: pa.Array, code: Mapping[str, int], folder: Path) -> Int32:
    """Codes of a column of names. Each different name is looked up once, however many rows there are."""
    coded = names if pa.types.is_dictionary(names.type) else names.dictionary_encode()
    known = [code.get(name, -1) for name in coded.dictionary.to_pylist()]
    result: Int32 = np.array([*known, -1], np.int32)[coded.indices.fill_null(len(known)).to_numpy()]
    if (result < 0).any():
        name = names[int(np.argmax(result < 0))].as_py()
        raise RunError(
            f"trial {folder} names {name!r}, which its {TOPOLOGY} does not have", mend=_again(folder)
        )
    return result


def _read_events(path: Path) -> tuple[Mapping[str, Any], ...]:
    if not path.exists():
        return ()
    return tuple(json.loads(line) for line in path.read_text().splitlines() if line.strip())


def _again(folder: Path) -> str:
    return f"remove {folder} and run the experiment again"
