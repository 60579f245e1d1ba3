"""The files around a client: content and torrent, configuration, block log."""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jinja2
import libtorrent as lt
import numpy as np
import pytest

import testbed
from testbed.config_file import load_config
from testbed.errors import UserError
from testbed.peers.config import ClientConfig
from testbed.peers.content import make_content
from testbed.peers.libtorrent_client import file_matches
from testbed.peers.transfers import TRANSFER_DTYPE, read_transfers

URL = "http://10.1.0.2/announce"
TEMPLATES = Path(testbed.__file__).parent / "templates"


def test_content_is_the_same_wherever_and_whenever_it_is_made(tmp_path: Path) -> None:
    first = make_content(tmp_path / "a", "c.bin", 3_000_001, 65536, 7, URL)
    second = make_content(tmp_path / "b", "c.bin", 3_000_001, 65536, 7, "http://elsewhere/announce")
    assert hashlib.sha256(first.payload.read_bytes()).hexdigest() == (
        "9661cc17fba0f3edfb06f8c95220c63c431dca9cbc9852aa5dd749b587029e21"
    )
    assert first.info_hash == second.info_hash
    assert first.info_hash != make_content(tmp_path / "c", "c.bin", 3_000_001, 65536, 8, URL).info_hash


def test_content_does_not_compress(tmp_path: Path) -> None:
    data = make_content(tmp_path, "c.bin", 100_000, 16384, 7, URL).payload.read_bytes()
    assert len(data) == 100_000
    assert len(zlib.compress(data)) > 100_000


@pytest.mark.parametrize("private", [True, False])
def test_the_torrent_names_the_tracker_and_is_v1(tmp_path: Path, private: bool) -> None:
    content = make_content(tmp_path, "c.bin", 100_000, 32768, 7, URL, private)
    torrent: Any = lt.load_torrent_file(str(content.torrent))
    assert torrent.trackers == [URL]
    assert (torrent.ti.priv(), torrent.ti.piece_length(), torrent.ti.total_size()) == (
        private,
        32768,
        100_000,
    )
    assert (torrent.info_hashes.has_v1(), torrent.info_hashes.has_v2()) == (True, False)
    assert str(torrent.info_hashes.v1) == content.info_hash
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.bin", "c.bin.torrent"]


@pytest.mark.parametrize(("size", "piece"), [(0, 65536), (10, 8192), (10, 50000)])
def test_sizes_that_no_torrent_has_are_refused(tmp_path: Path, size: int, piece: int) -> None:
    with pytest.raises(UserError, match="allowed"):
        make_content(tmp_path, "c.bin", size, piece, 7, URL)


def test_a_file_matches_its_torrent_only_if_every_byte_does(tmp_path: Path) -> None:
    content = make_content(tmp_path, "c.bin", 100_001, 32768, 7, URL)
    info = lt.load_torrent_file(str(content.torrent)).ti
    assert file_matches(info, tmp_path)
    data = content.payload.read_bytes()
    for wrong in (data[:-1] + bytes([data[-1] ^ 1]), data[:-1], data + b"x"):
        content.payload.write_bytes(wrong)
        assert not file_matches(info, tmp_path)
    content.payload.unlink()
    assert not file_matches(info, tmp_path)


def test_a_torn_last_row_is_left_out(tmp_path: Path) -> None:
    rows = np.array([(1, 0x0A010002, 16384, 3, 0), (2, 0x0A010003, 99, 4, 1)], TRANSFER_DTYPE)
    path = tmp_path / "transfers.bin"
    for torn in range(TRANSFER_DTYPE.itemsize):
        path.write_bytes(rows.tobytes() + bytes(torn))
        assert (read_transfers(path) == rows).all()
    path.write_bytes(b"")
    assert len(read_transfers(path)) == 0


def _render(**more: Any) -> str:
    template = jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(
        (TEMPLATES / "client.yaml.j2").read_text()
    )
    client = {
        "connections": 40,
        "unchoke_slots": 4,
        "request_queue": 50,
        "numwant": 30,
        "min_announce_interval_s": 5,
        "peer_exchange": False,
        "dht": False,
        "local_discovery": False,
        "encryption": "off",
    }
    return template.render(
        host=SimpleNamespace(id="cablenet.paris.leecher3", role="leecher", ip="10.1.0.5"),
        port=6881,
        torrent=Path("/run/c.torrent"),
        payload_folder=Path("/run/it's: here"),
        client=client,
        transfers=Path("/run/t"),
        record=Path("/run/r"),
        **more,
    )


def test_the_template_makes_a_valid_configuration(tmp_path: Path) -> None:
    path = tmp_path / "client.yaml"
    path.write_text(_render(progress_socket=None))
    config = load_config(path, ClientConfig)
    assert (config.host, config.listen, config.listen_ip) == (
        "cablenet.paris.leecher3",
        "10.1.0.5:6881",
        "10.1.0.5",
    )
    assert (config.connections, config.unchoke_slots, config.request_queue, config.numwant) == (40, 4, 50, 30)
    assert (config.encryption, config.peer_exchange, config.progress_socket) == ("off", False, None)
    assert config.payload_folder == Path("/run/it's: here")
    path.write_text(_render(progress_socket=Path("/run/progress")))
    assert load_config(path, ClientConfig).progress_socket == Path("/run/progress")


@pytest.mark.parametrize("listen", ["10.1.0.5", "10.1.0.5:0", "10.1.0.5:70000", "host:6881", "10.1.0.300:1"])
def test_a_wrong_address_is_named(tmp_path: Path, listen: str) -> None:
    path = tmp_path / "client.yaml"
    path.write_text(_render(progress_socket=None).replace("10.1.0.5:6881", listen))
    with pytest.raises(UserError, match="listen"):
        load_config(path, ClientConfig)
