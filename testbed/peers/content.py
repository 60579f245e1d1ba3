"""The content that a swarm shares: made from a seed, the same on every machine, with its torrent.

In comes a size and a seed; out comes a payload file that nothing compresses and a v1 `.torrent` beside it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import libtorrent as lt

from testbed.errors import Problem, UserError

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Content:
    """A payload file and its torrent. `info_hash` is 40 hex digits (BEP 3)."""

    payload: Path
    torrent: Path
    info_hash: str
    size_bytes: int
    piece_bytes: int


def make_content(
    folder: Path,
    name: str,
    size_bytes: int,
    piece_bytes: int,
    seed: int,
    tracker_url: str,
    private: bool = True,
) -> Content:
    """Write `<folder>/<name>` and `<folder>/<name>.torrent`, each whole or not at all.

    The info hash depends on all arguments but the folder and the tracker. A private torrent (BEP 27) forbids
    clients to find neighbours elsewhere than at the tracker. Raises UserError where a size is no size.
    """
    _check_sizes(size_bytes, piece_bytes)
    folder.mkdir(parents=True, exist_ok=True)
    payload = folder / name
    _write_whole(payload, _chunks(size_bytes, seed))
    draft = lt.create_torrent(
        [lt.create_file_entry(name, size_bytes)], piece_bytes, lt.create_torrent.v1_only
    )
    draft.add_tracker(tracker_url)
    draft.set_priv(private)
    draft.set_creation_date(0)
    lt.set_piece_hashes(draft, str(folder))
    torrent = folder / f"{name}.torrent"
    _write_whole(torrent, [lt.bencode(draft.generate())])
    info_hash = str(lt.load_torrent_file(str(torrent)).info_hashes.v1)
    return Content(payload, torrent, info_hash, size_bytes, piece_bytes)


def _check_sizes(size_bytes: int, piece_bytes: int) -> None:
    if size_bytes < 1:
        raise UserError(Problem(what=f"content of {size_bytes} bytes", allowed="1 byte or more"))
    if piece_bytes < 16384 or piece_bytes & (piece_bytes - 1):
        raise UserError(
            Problem(what=f"pieces of {piece_bytes} bytes", allowed="a power of two from 16 KiB (one block)")
        )


def _chunks(size_bytes: int, seed: int) -> Iterator[bytes]:
    """SHAKE-128 of seed and position: fixed by FIPS 202, so that no library's version changes the content."""
    for start in range(0, size_bytes, _CHUNK_BYTES):
        yield hashlib.shake_128(f"{seed}:{start}".encode()).digest(min(_CHUNK_BYTES, size_bytes - start))


def _write_whole(path: Path, parts: Iterator[bytes] | list[bytes]) -> None:
    part = path.with_name(f"{path.name}.part")
    with part.open("wb") as file:
        file.writelines(parts)
    os.replace(part, path)
