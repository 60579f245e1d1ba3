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
    """What each link is billed for, (links,): `volumes_bps` (slots, links), NaN where a slot was not counted.

    NaN for a link without a slot.
    """
    slots, links = volumes_bps.shape
    counted = slots - np.isnan(volumes_bps).sum(axis=0)
    rank = np.array([billed_rank(int(count), percentile) if count else slots for count in counted])
    # NaN is sorted to the end.
    billed: Vector = np.partition(volumes_bps, np.unique(rank - 1), axis=0)[rank - 1, np.arange(links)]
    return billed


@dataclass(frozen=True, eq=False)
class ChargingRecord:
    """What links have carried: complete slots, the newest last, and the slot that is under way.

    `volumes_bps` (slots, links) are the last of one period at most, NaN where P2P was not counted in the
    whole slot; `background_bps` is the same without P2P, of the slots that its moving average is over.
    `p2p_bits` and `background_bits` (links,) are of the slot under way, of which `elapsed_s` have passed;
    P2P was counted for `counted_s` (links,) of them. `predicted_bps` is the charging volume of `volumes_bps`,
    NaN before there is a slot.
    """

    volumes_bps: Matrix
    background_bps: Matrix
    p2p_bits: Vector
    background_bits: Vector
    counted_s: Vector
    elapsed_s: float
    predicted_bps: Vector

    @staticmethod
    def of(links: int) -> ChargingRecord:
        """The record of links of which nothing has been seen."""
        none, zero = np.zeros((0, links)), np.zeros(links)
        return ChargingRecord(none, none, zero, zero, zero, 0.0, np.full(links, np.nan))

    def after(
        self, p2p_bps: Vector, background_bps: Vector, seconds: float, config: ChargingConfig
    ) -> ChargingRecord:
        """The record after `seconds` at these rates (links,); they may end one slot or several.

        Where `p2p_bps` is NaN it was not counted: the slot's mean is that of the rest of the slot.
        """
        record, left_s = self, seconds
        counted, p2p_bps = ~np.isnan(p2p_bps), np.nan_to_num(p2p_bps)
        while left_s > 0:
            # What is left of a slot may be a rounding error of sums of seconds.
            taken_s = min(left_s, max(config.slot_s - record.elapsed_s, 0.0))
            record = replace(
                record,
                p2p_bits=record.p2p_bits + p2p_bps * taken_s,
                background_bits=record.background_bits + background_bps * taken_s,
                counted_s=record.counted_s + counted * taken_s,
                elapsed_s=record.elapsed_s + taken_s,
            )
            left_s -= taken_s
            if record.elapsed_s >= config.slot_s * (1 - 1e-9):
                record = record._with_slot(config)
        return record

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

    def _with_slot(self, config: ChargingConfig) -> ChargingRecord:
        background_bps = self.background_bits / self.elapsed_s
        p2p_bps = np.full(len(background_bps), np.nan)
        np.divide(self.p2p_bits, self.counted_s, out=p2p_bps, where=self.counted_s > 0)
        ended = np.vstack([self.volumes_bps, p2p_bps + background_bps])[-config.period_slots :]
        background = np.vstack([self.background_bps, background_bps])
        zero = np.zeros(len(background_bps))
        return ChargingRecord(
            volumes_bps=ended,
            background_bps=background[-config.background_slots :],
            p2p_bits=zero,
            background_bits=zero,
            counted_s=zero,
            elapsed_s=0.0,
            predicted_bps=charging_volume(ended, config.percentile),
        )
