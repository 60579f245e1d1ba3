"""A sender of full UDP frames at a given rate, for measuring what a datapath carries.

`python -m testbed.emulation.datagrams ADDRESS FRAMES_PER_S`: it sends to the discard port until it is ended.
Beyond what the link lets out it waits, as the socket's buffer is then full.
"""

from __future__ import annotations

import socket
import sys
import time

_DISCARD_PORT = 9
_PAYLOAD = bytes(1472)  # 1514 bytes on the wire
_TURN_S = 0.002


def main(address: str, frames_per_s: float) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        # Little enough that the link's queue is never full: waiting costs nothing, dropped frames do.
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        begun, sent = time.monotonic(), 0
        while True:
            due = int((time.monotonic() - begun) * frames_per_s)
            for _ in range(due - sent):
                try:
                    sender.sendto(_PAYLOAD, (address, _DISCARD_PORT))
                except ConnectionRefusedError:  # what the last one's ICMP answer is reported as
                    continue
            sent = due
            time.sleep(_TURN_S)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
