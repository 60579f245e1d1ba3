"""`python -m testbed.controller --config controller.yaml`: the SDN controller of one run, until SIGTERM."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m testbed.controller", description="Run the SDN controller."
    )
    parser.add_argument("--config", type=Path, required=True, help="the controller's YAML file")
    arguments = parser.parse_args()
    # Only now: it imports Ryu, which takes a second and patches the process.
    from testbed.controller.app import run

    code = run(arguments.config)
    # Ryu's green threads have no orderly end, and everything that is written is flushed.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
