"""`python -m testbed.controller --config controller.yaml`: the SDN controller of one run, until SIGTERM."""

from __future__ import annotations

import testbed.controller.green  # noqa: F401 (before all others: it patches the process)

# isort: split
import argparse
import os
import sys
from pathlib import Path

from testbed.config_file import load_config
from testbed.controller.config import ControllerConfig
from testbed.errors import UserError


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m testbed.controller",
        description="Run the SDN controller.",
        epilog="example: python -m testbed.controller --config controller.yaml",
    )
    parser.add_argument("--config", type=Path, required=True, help="the controller's YAML file")
    arguments = parser.parse_args()
    try:
        config = load_config(arguments.config, ControllerConfig)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    os.environ["TESTBED_CONTROLLER_FRAMEWORK"] = config.framework
    # Only now: it imports Ryu or os-ken.
    from testbed.controller.app import run

    return run(config)


if __name__ == "__main__":
    code = main()
    # Green threads have no orderly end, and everything that is written is flushed.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
