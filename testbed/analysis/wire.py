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
Payload includes what a client received and threw away (`bytes_wasted`), shared over its senders as its
counts by neighbour exceed the blocks that it kept of them. A segment that a link further on has dropped
crosses the links before it twice: what a switch received and did not send is shared over its links as their
queues count drops, and over the pairs of hosts as their payload is, at the mean size of a packet there.

Not in the model, and so part of the residual: segments sent again for another reason, `have` and `bitfield`
messages, handshakes, announces and portal requests. Sources: BEP 3 (messages), RFC 793 and RFC
7323 (headers).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

FRAME_HEADER_BYTES = 14 + 20 + 20 + 12
BLOCK_BYTES = 16384
PIECE_MESSAGE_BYTES = 13
REQUEST_MESSAGE_BYTES = 17


def explained_bytes(payload: Float64, asked: Float64, again: Float64, packets: Float64) -> Float64:
    """Bytes that the model explains on each link direction.

    `payload` is what blocks brought over the direction, `asked` the payload whose requests took it, `again`
    what was lost further on and so sent again, all in bytes; `packets` the frames counted on it. All
    float64[directions].
    """
    return (
        packets * FRAME_HEADER_BYTES
        + payload * (1 + PIECE_MESSAGE_BYTES / BLOCK_BYTES)
        + asked * (REQUEST_MESSAGE_BYTES / BLOCK_BYTES)
        + again
    )


def lost_bytes(
    drops: Float64, segment: Float64, arrived: Float64, departed: Float64, switch_of: Int64
) -> Float64:
    """Payload bytes that were lost at the queue of each link direction: float64[directions].

    `drops` are packets that the queue of each direction refused and `segment` the mean payload of those that
    it sent, both float64[directions]: a full queue refuses packets of all sizes alike. `switch_of` is the
    code of the switch that the direction leaves, -1 for a host, int64[directions]. `arrived` and `departed`
    are the packets that each switch received and sent, float64[switches]. Where a queue refuses a packet,
    Open vSwitch throws away what else it meant to send there in the same moment, so that a switch loses more
    than its queues count: up to as many again are shared in proportion to the counts.
    """
    at_switch = switch_of >= 0
    counted = np.bincount(switch_of[at_switch], drops[at_switch], len(arrived))
    scale = np.divide(arrived - departed, counted, out=np.ones_like(counted), where=counted > 0)
    lost = drops.copy()
    # Batches average well under two packets, so a switch that loses more than its queues count once again
    # loses them for another reason, and that stays in the residual.
    lost[at_switch] *= np.clip(scale, 1.0, 2.0)[switch_of[at_switch]]
    result: Float64 = lost * segment
    return result


def with_wasted(pair_bytes: Float64, by_neighbour: Float64, wasted: Float64) -> Float64:
    """Payload by pair [src, dst] with what each receiver threw away, float64[hosts, hosts].

    `by_neighbour` is what the receivers count by pair, wasted bytes included but not all connections to their
    very end; what it exceeds `pair_bytes` by says whence the `wasted` bytes of each receiver came. Where it
    says nothing they are shared as the rest of its payload is.
    """
    excess = np.maximum(by_neighbour - pair_bytes, 0.0)
    shares = np.where(excess.sum(axis=0) > 0, excess, pair_bytes)
    total = shares.sum(axis=0)
    scale = np.divide(wasted, total, out=np.zeros_like(total), where=total > 0)
    out: Float64 = pair_bytes + shares * scale
    return out


def residual(counted: Float64, explained: Float64) -> float:
    """Share of the counted bytes that is not explained: sum |counted - explained| / sum counted.

    The differences are summed without sign, so that too much on one link cannot hide too little on another.
    nan where nothing was counted.
    """
    total = float(counted.sum())
    return float(np.abs(counted - explained).sum()) / total if total else float("nan")
