"""How many bytes the reported payload explains on the wire: the model behind the metric `residual`. Pure.

In go payload bytes by link direction (what clients report) and packets (what switches count); out come the
bytes that switches should have counted.

The model. What BitTorrent over TCP sends in one direction of a link is

    frames x 66                 Ethernet 14, IPv4 20, TCP 20 and its timestamps 12, on data and bare ACKs
  + payload x (1 + 13 / 16384)  every 16 KiB block goes in a piece message: length 4, id 1, index 4, begin 4
  + asked   x 17 / 16384        and is asked for in a request message, which takes the other way

Frames are counted and not guessed from the payload, because segment offload makes it depend on the machine
how many headers a switch sees: it counts a frame of 64 KiB with one header where the wire would have 45. With
the counted number the headers are exact either way, ACKs included, however often the receiver sends them.
Payload includes what a client received and threw away (`bytes_wasted`), shared over its senders as its other
payload is. Not in the model, and so part of the residual: segments sent again after a loss, `have` and
`bitfield` messages, handshakes, announces and portal requests. Sources: BEP 3 (messages), RFC 793 and RFC
7323 (headers).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]

FRAME_HEADER_BYTES = 14 + 20 + 20 + 12
BLOCK_BYTES = 16384
PIECE_MESSAGE_BYTES = 13
REQUEST_MESSAGE_BYTES = 17


def explained_bytes(payload: Float64, asked: Float64, packets: Float64) -> Float64:
    """Bytes that the model explains on each link direction.

    `payload` is what blocks brought over the direction, `asked` the payload whose requests took it, both in
    bytes; `packets` the frames counted on it. All float64[directions].
    """
    return (
        packets * FRAME_HEADER_BYTES
        + payload * (1 + PIECE_MESSAGE_BYTES / BLOCK_BYTES)
        + asked * (REQUEST_MESSAGE_BYTES / BLOCK_BYTES)
    )


def with_wasted(pair_bytes: Float64, wasted: Float64) -> Float64:
    """Payload by pair [src, dst] with what each receiver threw away, shared over its senders."""
    received = pair_bytes.sum(axis=0)
    scale = np.divide(wasted, received, out=np.zeros_like(received), where=received > 0)
    scaled: Float64 = pair_bytes * (1 + scale)
    return scaled


def residual(counted: Float64, explained: Float64) -> float:
    """Share of the counted bytes that is not explained: sum |counted - explained| / sum counted.

    The differences are summed without sign, so that too much on one link cannot hide too little on another.
    nan where nothing was counted.
    """
    total = float(counted.sum())
    return float(np.abs(counted - explained).sum()) / total if total else float("nan")
