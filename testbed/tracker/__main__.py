"""`python -m testbed.tracker --config tracker.yaml`: track swarms until told to stop."""

import sys

from testbed.service import run_program
from testbed.tracker.config import TrackerConfig
from testbed.tracker.server import serve

if __name__ == "__main__":
    sys.exit(run_program("testbed.tracker", TrackerConfig, serve, "Track BitTorrent swarms and pick peers."))
