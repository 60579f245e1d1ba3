"""What is wrong with a portal on purpose: maps that lie, as a pure function from `Published` to `Published`.

The same faults and seed give the same lie, whatever the costs are, so a map that is updated every second lies
steadily. That the maps stay as they were, that answers are late or do not come at all, is the server's part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from testbed.portal.alto import documents
from testbed.portal.alto.model import CostType, Matrix, NetworkMap, Published
from testbed.portal.config import FaultsConfig
from testbed.portal.publication import dense_ranks

_MORE_IS_BETTER = frozenset({"tput", "bw-residual", "bw-available"})
_WHOLE = frozenset({"hopcount"})
_MOST = {"lossrate": 100.0}
_LARGEST = 1e300  # a lie is a number, too


def with_faults(published: Published, faults: FaultsConfig) -> Published:
    """What a portal with these faults says instead. Noise comes first, then inversion, then selfishness."""
    if faults.noise or faults.inverted or faults.selfish != 1:
        published = replace(published, costs=_wrong_costs(published, faults))
    if faults.missing:
        published = _partial(published, faults)
    return published


def _wrong_costs(published: Published, faults: FaultsConfig) -> Mapping[tuple[str, str], Matrix]:
    maps = {network_map.id: network_map for network_map in published.network_maps}
    kinds = {kind.name: kind for kind in published.cost_types}
    numerical = {kind.metric: kind.name for kind in published.cost_types if kind.mode == "numerical"}
    wrong = {
        key: _wrong(matrix, maps[key[0]], kinds[key[1]], published.own, faults)
        for key, matrix in published.costs.items()
    }
    for (map_id, name), matrix in wrong.items():
        kind = kinds[name]
        if kind.mode == "ordinal":
            wrong[map_id, name] = dense_ranks(wrong.get((map_id, numerical.get(kind.metric, name)), matrix))
    return wrong


@np.errstate(over="ignore")
def _wrong(
    matrix: Matrix, network_map: NetworkMap, kind: CostType, own: frozenset[str], faults: FaultsConfig
) -> Matrix:
    metric = kind.metric.partition(":")[0]
    wrong = matrix.copy()
    if faults.noise:
        normal = _rng(faults, f"noise {network_map.id} {kind.name}").standard_normal(matrix.shape)
        factors = np.exp(np.minimum(faults.noise * normal, np.log(_LARGEST)))
        wrong = np.minimum(wrong * factors, _LARGEST)
    if faults.inverted and not np.isnan(wrong).all():
        wrong = np.nanmin(wrong) + np.nanmax(wrong) - wrong
    if faults.selfish != 1:
        elsewhere = [pid not in own for pid in network_map.prefixes]
        factor = 1 / faults.selfish if metric in _MORE_IS_BETTER else min(faults.selfish, _LARGEST)
        wrong[:, elsewhere] *= factor
    if metric in _WHOLE:
        wrong = np.rint(wrong)
    return np.minimum(wrong, _MOST.get(metric, _LARGEST))


def _partial(published: Published, faults: FaultsConfig) -> Published:
    """Without some of the ISP's own PIDs, at least one: their addresses fall to shorter prefixes."""
    maps = []
    costs = dict(published.costs)
    for full in published.network_maps:
        own = [pid for pid in full.prefixes if pid in published.own]
        count = min(len(own), max(1, round(faults.missing * len(own))))
        gone = set(_rng(faults, f"missing {full.id}").permutation(own)[:count].tolist())
        left = {pid: prefixes for pid, prefixes in full.prefixes.items() if pid not in gone}
        part = documents.network_map(full.id, left)
        where = {pid: number for number, pid in enumerate(full.prefixes)}
        kept = [where[pid] for pid in part.prefixes]
        for kind in published.cost_types:
            if (full.id, kind.name) in costs:
                costs[full.id, kind.name] = costs[full.id, kind.name][np.ix_(kept, kept)]
        maps.append(part)
    return replace(
        published,
        network_maps=tuple(maps),
        costs=costs,
        capabilities=tuple(offer for offer in published.capabilities if offer.pid in maps[0].prefixes),
    )


def _rng(faults: FaultsConfig, purpose: str) -> np.random.Generator:
    return np.random.default_rng([faults.seed, *purpose.encode()])
