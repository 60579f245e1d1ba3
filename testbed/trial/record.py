"""The record of a trial on disk: file names, table schemas, and writing a table whole.

Everything that measures writes rows of these tables; the analysis reads them and nothing else. Times are
nanoseconds since the trial's start (int64), sizes bytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

MANIFEST = "manifest.json"
TOPOLOGY = "topology.json"
EVENTS = "events.jsonl"
CONFIG = "config"
LOGS = "logs"
UNFINISHED = "unfinished"
"""The subfolder of a results folder where trials live until they are whole."""

_NAME = pa.dictionary(pa.int32(), pa.string())

TABLES: Mapping[str, pa.Schema] = {
    # One row for each block (at most 16 KiB) that a client received and kept.
    "transfers": pa.schema(
        [
            ("t_ns", pa.int64()),
            ("src", _NAME),
            ("dst", _NAME),
            ("bytes", pa.int32()),
            ("piece", pa.int32()),
            ("block", pa.int32()),
        ]
    ),
    # One row for each peer. A time is null where the thing did not happen.
    "peers": pa.schema(
        [
            ("host", pa.string()),
            ("isp", pa.string()),
            ("pop", pa.string()),
            ("role", pa.string()),
            ("client", pa.string()),
            ("access", pa.string()),
            ("joined_ns", pa.int64()),
            ("first_byte_ns", pa.int64()),
            ("completed_ns", pa.int64()),
            ("left_ns", pa.int64()),
            ("bytes_down", pa.int64()),
            ("bytes_up", pa.int64()),
            ("bytes_wasted", pa.int64()),
            ("hash_ok", pa.bool_()),
            ("errors", pa.string()),
        ]
    ),
    # One row for each neighbour that a peer exchanged payload with, wasted bytes included, as it counts them.
    "neighbours": pa.schema(
        [
            ("host", pa.string()),
            ("neighbour", pa.string()),
            ("bytes_down", pa.int64()),
            ("bytes_up", pa.int64()),
        ]
    ),
    # Counters since the trial's start of what left the switch port or qdisc at the sending end. `direction`
    # is the PoP or host that sends. A row each second for each direction of each link.
    "links": pa.schema(
        [
            ("t_ns", pa.int64()),
            ("link", _NAME),
            ("direction", _NAME),
            ("bytes", pa.int64()),
            ("packets", pa.int64()),
            ("drops", pa.int64()),
            ("backlog", pa.int64()),
        ]
    ),
    # IP packets that reached the PoP `pop` since the trial's start, by the ISP of who sent them, its own
    # included. A row each second for each ISP that sent any.
    "pairs": pa.schema(
        [
            ("t_ns", pa.int64()),
            ("pop", _NAME),
            ("src_isp", _NAME),
            ("bytes", pa.int64()),
            ("packets", pa.int64()),
        ]
    ),
    # Packets that a switch threw away by its rules since the trial's start: `unrouted` met no rule, `metered`
    # were over the limit of a meter. A row each second for each switch.
    "switches": pa.schema(
        [("t_ns", pa.int64()), ("pop", _NAME), ("unrouted", pa.int64()), ("metered", pa.int64())]
    ),
    # One row for each announce that the tracker answered; the last three split `returned` by class.
    "announces": pa.schema(
        [
            ("t_ns", pa.int64()),
            ("host", pa.string()),
            ("event", pa.string()),
            ("numwant", pa.int32()),
            ("returned", pa.int32()),
            ("same_pid", pa.int32()),
            ("same_isp", pa.int32()),
            ("other_isp", pa.int32()),
            ("guided", pa.bool_()),
            ("reason", pa.string()),
        ]
    ),
    # The p-distances in force from `t_ns` on, as the ISP's portal publishes them.
    "distances": pa.schema(
        [
            ("t_ns", pa.int64()),
            ("isp", pa.string()),
            ("src_pid", pa.string()),
            ("dst_pid", pa.string()),
            ("p_distance", pa.float64()),
        ]
    ),
    # One row each second: what the machine had to do. Null is what it does not have: pressure, a delay line.
    "fidelity": pa.schema(
        [
            ("t_ns", pa.int64()),
            ("cpu_busy", pa.float64()),
            ("cpu_steal", pa.float64()),
            ("datapath_cpu", pa.float64()),
            ("wakeup_late_s", pa.float64()),
            ("softnet_drops", pa.int64()),
            ("memory_available", pa.int64()),
            ("cpu_pressure", pa.float64()),
            ("datapath_late_s", pa.float64()),
            ("line_cpu", pa.float64()),
            ("line_late_s", pa.float64()),
            ("line_lost", pa.int64()),
        ]
    ),
}


def table_path(folder: Path, table: str) -> Path:
    return folder / f"{table}.parquet"


def write_table(folder: Path, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write all rows of one of `TABLES` into `<folder>/<name>.parquet`, whole or not at all."""
    write_arrow(folder, name, pa.Table.from_pylist(list(rows), schema=TABLES[name]))


def write_arrow(folder: Path, name: str, table: pa.Table) -> None:
    """Write an Arrow table that has the schema of `TABLES[name]`; raises ValueError where it has another."""
    if not table.schema.equals(TABLES[name]):
        raise ValueError(f"{name}: schema {table.schema} is not {TABLES[name]}")
    path = table_path(folder, name)
    part = path.with_suffix(".part")
    pq.write_table(table, part, compression="zstd")
    os.replace(part, path)


def read_table(folder: Path, name: str) -> pa.Table:
    return pq.read_table(table_path(folder, name))
