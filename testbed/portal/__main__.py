"""`python -m testbed.portal --config portal.yaml`: serve one ISP's ALTO maps until told to stop."""

import sys

from testbed.portal.config import PortalConfig
from testbed.portal.server import serve
from testbed.service import run_program

if __name__ == "__main__":
    sys.exit(
        run_program(
            "testbed.portal", PortalConfig, serve, "Serve what one ISP says of its network over ALTO."
        )
    )
