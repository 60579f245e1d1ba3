"""What an interdomain link is billed for, and what P2P may add to it for free.

In come rates measured on links, out come the mean rates of billing slots, the charging volume that they lead
to, and the virtual capacity: what fits below it beside the background (Xie et al., SIGCOMM 2008, section on
interdomain multihoming). A volume is given as the mean rate of its slot in bit/s, as bills give it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from testbed.portal.config import ChargingConfig

Vector = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float64]


def billed_rank(slots: int, percentile: float) -> int:
    """Which of so many slots is billed, counted from the least: ceil(percentile / 100 * slots), 1 at least.

    Of the 8640 slots of 30 days the 95th percentile is the 8208th.
    """
    # A product such as 0.95 * 20 may come out a hair above the whole number that it is.
    return max(1, math.ceil(round(percentile / 100 * slots, 9)))


def charging_volume(volumes_bps: Matrix, percentile: float) -> Vector:
    """What each link is billed for, (links,), of one slot or more: `volumes_bps` (slots, links)."""
    rank = billed_rank(len(volumes_bps), percentile)
    billed: Vector = np.partition(volumes_bps, rank - 1, axis=0)[rank - 1]
    return billed


@dataclass(frozen=True, eq=False)
class Meter:
    """What links have carried: complete slots, the newest last, and the slot that is under way.

    `volumes_bps` (slots, links) are the last of one period at most, `background_bps` the same without P2P, of
    the slots that its moving average is over. `bits` and `background_bits` (links,) are of the slot under
    way, of which `elapsed_s` have passed. `predicted_bps` is the charging volume of `volumes_bps`, NaN before
    there is a slot.
    """

    volumes_bps: Matrix
    background_bps: Matrix
    bits: Vector
    background_bits: Vector
    elapsed_s: float
    predicted_bps: Vector

    @staticmethod
    def of(links: int) -> Meter:
        """A meter that has seen nothing."""
        none, zero = np.zeros((0, links)), np.zeros(links)
        return Meter(none, none, zero, zero, 0.0, np.full(links, np.nan))

    def after(self, p2p_bps: Vector, background_bps: Vector, seconds: float, config: ChargingConfig) -> Meter:
        """The meter after `seconds` at these rates (links,); they may end one slot or several."""
        meter, left_s = self, seconds
        while left_s > 0:
            # What is left of a slot may be a rounding error of sums of seconds.
            taken_s = min(left_s, max(config.slot_s - meter.elapsed_s, 0.0))
            meter = replace(
                meter,
                bits=meter.bits + (p2p_bps + background_bps) * taken_s,
                background_bits=meter.background_bits + background_bps * taken_s,
                elapsed_s=meter.elapsed_s + taken_s,
            )
            left_s -= taken_s
            if meter.elapsed_s >= config.slot_s * (1 - 1e-9):
                meter = meter._with_slot(config)
        return meter

    def virtual_capacity_bps(self, background_bps: Vector) -> Vector:
        """v (links,): the predicted charging volume less the predicted background, never negative.

        The background is predicted by the moving average of its last slots, but as no less than the
        `background_bps` (links,) of now: while it rises the average is behind, and each slot that ends above
        what was predicted raises what is predicted next. NaN before there is a slot.
        """
        average = self.background_bps.mean(axis=0) if len(self.background_bps) else background_bps
        predicted = np.maximum(average, background_bps)
        free: Vector = np.maximum(self.predicted_bps - predicted, 0.0)
        return free

    def _with_slot(self, config: ChargingConfig) -> Meter:
        ended = np.vstack([self.volumes_bps, self.bits / self.elapsed_s])[-config.period_slots :]
        background = np.vstack([self.background_bps, self.background_bits / self.elapsed_s])
        zero = np.zeros_like(self.bits)
        return Meter(
            volumes_bps=ended,
            background_bps=background[-config.background_slots :],
            bits=zero,
            background_bits=zero,
            elapsed_s=0.0,
            predicted_bps=charging_volume(ended, config.percentile),
        )
