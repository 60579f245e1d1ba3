"""`python -m testbed.peers --config client.yaml`: one BitTorrent client, until SIGTERM."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from testbed.peers.libtorrent_client import run

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m testbed.peers", description="Run one BitTorrent client.")
    parser.add_argument("--config", type=Path, required=True, help="the client's YAML file")
    sys.exit(run(parser.parse_args().config))
