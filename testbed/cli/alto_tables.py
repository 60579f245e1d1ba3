"""What ALTO documents look like on a terminal: parsed documents in, tables and lines out. Pure.

A document of any server may come in, so nothing is taken for granted that `checking` would only report.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from testbed.portal.alto.model import (
    COST_MAP_TYPE,
    DIRECTORY_TYPE,
    ENDPOINT_COST_TYPE,
    ENDPOINT_PROPERTY_TYPE,
    NETWORK_MAP_TYPE,
)
from testbed.portal.alto.reading import AltoError, Closure, Resource, prefixes_of
from testbed.topology.writing import counted

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

_KINDS = {
    NETWORK_MAP_TYPE: "network map",
    COST_MAP_TYPE: "cost map",
    ENDPOINT_PROPERTY_TYPE: "endpoint properties",
    ENDPOINT_COST_TYPE: "endpoint costs",
    DIRECTORY_TYPE: "directory",
    "application/alto-propmap+json": "entity properties",
    "text/event-stream": "update stream",
}
_PREFIXES_SHOWN = 6
_KINDS_NAMED = 2


def kind_of(resource: Resource) -> str:
    """What a resource is, in words."""
    plain = resource.media_type.removeprefix("application/").removesuffix("+json")
    kind = _KINDS.get(resource.media_type, plain)
    filtered = resource.accepts and resource.media_type in (NETWORK_MAP_TYPE, COST_MAP_TYPE)
    return f"filtered {kind}" if filtered else kind


def directory_table(closure: Closure, there: Console) -> Table:
    """A row a resource, in the order of the directories; on a narrow terminal not all columns."""
    from testbed.cli.tables import fits

    whole = _directory_table(closure, ["resource", "what", "method", "offers", "uses"])
    return whole if fits(whole, there) else _directory_table(closure, ["resource", "what", "offers"])


def _directory_table(closure: Closure, columns: Sequence[str]) -> Table:
    from testbed.cli.tables import table

    rows = table(columns, [])
    for column in rows.columns[:2]:
        column.no_wrap = True  # what is typed again, and what is short
    for entry in closure.resources.values():
        cells = {
            "resource": entry.id + (" (default)" if entry.id == closure.default_network_map else ""),
            "what": kind_of(entry),
            "method": "POST" if entry.accepts else "GET",
            "offers": ", ".join(_offers(entry)),
            "uses": _few(entry.uses, 2),
        }
        rows.add_row(*(cells[name] for name in columns))
    return rows


def network_map_parts(document: Any, name: str) -> list[RenderableType]:
    """A line with the tag, and a row a PID."""
    from testbed.cli.tables import table

    groups = _object(_get(document, "network-map"))
    rows = table(["PID"], ["prefixes"])
    rows.add_column("which", overflow="fold")
    for pid, group in groups.items():
        try:
            prefixes = [prefix for prefix, _ in prefixes_of({pid: group})]
        except AltoError:
            prefixes = []
        rows.add_row(pid, str(len(prefixes)), _few(prefixes, _PREFIXES_SHOWN))
    tag = _get(document, "meta", "vtag", "tag")
    return ["", f"{f'Network map {name}'.rstrip()}: {counted(len(groups), 'PID')}, tag {tag}", rows]


def cost_parts(document: Any, name: str, there: Console) -> list[RenderableType]:
    """A line with the cost type, and the costs: a matrix where it fits, else a row a source."""
    costs = _object(_get(document, "cost-map")) or _object(_get(document, "endpoint-cost-map"))
    pairs = sum(len(_object(row)) for row in costs.values())
    title = f"{name}: {_cost_types(document)}, {counted(pairs, 'cost')}"
    if not pairs:
        return ["", title]
    return ["", title, _matrix(costs, there) or _by_source(costs)]


def property_parts(document: Any, name: str) -> list[RenderableType]:
    """A row for each property of each endpoint or entity."""
    from testbed.cli.tables import table

    found = _object(_get(document, "endpoint-properties")) or _object(_get(document, "property-map"))
    rows = table(["of", "property", "value"], [])
    for end, properties in found.items():
        for key, value in _object(properties).items():
            rows.add_row(end, key, value if isinstance(value, str) else json.dumps(value))
    return ["", f"{name}: properties of {len(found)}", rows]


def document_parts(document: Any, media_type: str, name: str, there: Console) -> list[RenderableType]:
    """A document by its type; of a type that is not known, the JSON."""
    if media_type == NETWORK_MAP_TYPE:
        return network_map_parts(document, name)
    if media_type in (COST_MAP_TYPE, ENDPOINT_COST_TYPE):
        return cost_parts(document, f"{_KINDS[media_type].capitalize()} {name}".rstrip(), there)
    if media_type in (ENDPOINT_PROPERTY_TYPE, "application/alto-propmap+json"):
        return property_parts(document, name)
    return ["", f"{name} ({media_type}):", json.dumps(document, indent=1, ensure_ascii=False)]


def cost_text(cost: Any) -> str:
    """A number as short as it can be without losing what matters; anything else as JSON."""
    if isinstance(cost, bool) or not isinstance(cost, int | float):
        return json.dumps(cost)
    return str(cost) if isinstance(cost, int) else f"{cost:.6g}"


def _matrix(costs: Mapping[str, Any], there: Console) -> Table | None:
    """The costs with a column a destination; None where that is wider than the console."""
    from testbed.cli.tables import table

    targets = list(dict.fromkeys(target for row in costs.values() for target in _object(row)))
    if sum(len(target) + 1 for target in targets) > there.width:
        return None
    rows = table(["from"], targets)
    texts = [
        (source, *(cost_text(row[end]) if end in row else "" for end in targets))
        for source, row in ((source, _object(row)) for source, row in costs.items())
    ]
    for cells in texts:
        rows.add_row(*cells)
    widths = [max(map(len, cells)) for cells in zip(("from", *targets), *texts, strict=True)]
    return rows if sum(widths) + 2 * len(targets) <= there.width else None


def _by_source(costs: Mapping[str, Any]) -> Table:
    """What is left of a matrix that is too wide: where the nearest and the farthest are."""
    from testbed.cli.tables import table

    rows = table(["from"], ["costs", "least", "most"])
    rows.add_column("nearest", overflow="fold")
    for source, row in costs.items():
        numbers = {
            end: cost
            for end, cost in _object(row).items()
            if isinstance(cost, int | float) and not isinstance(cost, bool)
        }
        least, most = min(numbers.values(), default=None), max(numbers.values(), default=None)
        nearest = [end for end, cost in numbers.items() if cost == least]
        ends = ["" if cost is None else cost_text(cost) for cost in (least, most)]
        rows.add_row(source, str(len(_object(row))), *ends, _few(nearest, 3))
    return rows


def _offers(entry: Resource) -> list[str]:
    """What a client may ask of it: cost types, properties, and what extensions add."""
    capabilities = entry.capabilities
    kinds = [str(name) for name in _list(capabilities.get("cost-type-names"))]
    shown = kinds if len(kinds) <= _KINDS_NAMED else [counted(len(kinds), "cost type")]
    shown += [str(name) for name in _list(capabilities.get("prop-types"))]
    shown += [str(domain) for domain in _object(capabilities.get("mappings"))]
    if capabilities.get("cost-constraints") is True:
        shown.append("constraints")
    most = capabilities.get("max-cost-types")
    if isinstance(most, int) and most > 1:
        shown.append("several at once")
    if capabilities.get("calendar-attributes"):
        shown.append("calendar")
    return shown


def _cost_types(document: Any) -> str:
    several = _get(document, "meta", "multi-cost-types")
    kinds = several if isinstance(several, list) else [_get(document, "meta", "cost-type")]
    return " and ".join(f"{_get(kind, 'cost-mode')} {_get(kind, 'cost-metric')}" for kind in kinds)


def _few(names: Iterable[str], most: int) -> str:
    listed = list(names)
    more = len(listed) - most
    return ", ".join(listed[:most]) + (f" and {more} more" if more > 0 else "")


def _get(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
