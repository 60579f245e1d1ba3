"""GraphML text in, a networkx graph with text attributes out, whatever the file's age and program.

The XML is parsed once to refuse what is dangerous or broken, with its line. What networkx would refuse or
misread is then made plain: types that values do not keep, keys that are missing, edges that share a key.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from xml.parsers import expat

import networkx as nx

from testbed.topology.importers.common import Source
from testbed.topology.writing import counted

_NAMESPACE = "{http://graphml.graphdrawing.org/xmlns}"
_YFILES = "{http://www.yworks.com/xml/graphml}"
_DEEPEST = 100


@dataclass(frozen=True)
class ReadGraph:
    """A graph as the file has it: edges keep the order of their ends and have their number in `edge`."""

    graph: nx.MultiDiGraph
    directed: bool
    notes: tuple[str, ...]


def read_graph(source: Source) -> ReadGraph:
    """The first graph of a GraphML file. Raises UserError where the file is none, broken or harmful."""
    root = _xml(source)
    name = root.tag.rpartition("}")[2]
    if name != "graphml":
        mend = "take SNDlib's native format, the .txt file" if name == "network" else ""
        what = f"the XML is no GraphML: its root is <{name}>"
        raise source.wrong(what, allowed="<graphml>", mend=mend)
    _in_one_namespace(root)
    graphs = root.findall(f"{_NAMESPACE}graph")
    if not graphs:
        raise source.wrong("the file holds no <graph>")
    graph = graphs[0]
    for other in graphs[1:]:
        root.remove(other)
    notes = [f"read the first of {len(graphs)} graphs"] if len(graphs) > 1 else []
    _check_ids(source, graph)
    _with_text_attributes(root)
    hyperedges = _without_hyperedges(graph)
    if hyperedges:
        notes.append(f"dropped {counted(hyperedges, 'hyperedge')}, which join more than two nodes")
    default = str(graph.get("edgedefault") == "directed").lower()
    kinds = {edge.get("directed", default) == "true" for edge in graph.iter(f"{_NAMESPACE}edge")}
    if len(kinds) == 2:
        notes.append("edges with and without a direction are mixed: each is taken as a link of its own")
    _with_numbered_edges(root, graph)
    try:
        text = ET.tostring(root, encoding="unicode")
        read = nx.parse_graphml(text, node_type=str, force_multigraph=True)
    except (nx.NetworkXError, ET.ParseError, ValueError, KeyError, TypeError) as error:
        raise source.wrong(f"networkx can't read the graph: {error}") from None
    return ReadGraph(_with_defaults(read), kinds == {True}, tuple(notes))


def _xml(source: Source) -> ET.Element:
    """The file's XML. Raises UserError where it is broken, or nothing that a program should trust."""
    data = source.data.lstrip(b" \t\r\n")
    skipped = source.data[: len(source.data) - len(data)].count(b"\n")
    try:
        _refuse_harm(source, data, skipped)
        return ET.fromstring(data)
    except expat.ExpatError as error:
        what = expat.errors.messages.get(error.code, str(error))
        line = error.lineno + skipped
        raise source.wrong(f"the XML is broken or cut off: {what}", line=line) from None
    except (ET.ParseError, ValueError, LookupError) as error:
        raise source.wrong(f"the XML can't be read: {error}") from None


def _refuse_harm(source: Source, data: bytes, skipped: int) -> None:
    """Parse without building anything. A document type declaration can name other files and grow without
    end; a nesting deeper than any graph's overflows the stack of those who walk it.
    """
    parser = expat.ParserCreate()
    depth = 0

    def refuse(*_: object) -> None:
        raise source.wrong(
            "the XML has a document type declaration (<!DOCTYPE>), which is not read, for safety",
            line=parser.CurrentLineNumber + skipped,
            mend="remove it from the file",
        )

    def opened(*_: object) -> None:
        nonlocal depth
        depth += 1
        if depth > _DEEPEST:
            what = f"elements are nested more than {_DEEPEST} deep"
            raise source.wrong(what, line=parser.CurrentLineNumber + skipped)

    def closed(*_: object) -> None:
        nonlocal depth
        depth -= 1

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler, parser.EndElementHandler = opened, closed
    parser.Parse(data, True)


def _in_one_namespace(root: ET.Element) -> None:
    """Files name GraphML's namespace, an older one, or none; yEd's own elements keep theirs."""
    for element in root.iter():
        if not element.tag.startswith(_YFILES):
            element.tag = _NAMESPACE + element.tag.rpartition("}")[2]


def _check_ids(source: Source, graph: ET.Element) -> None:
    """Every node has an id of its own, and every edge ends at two of them."""
    nodes: set[str] = set()
    for number, node in enumerate(graph.iter(f"{_NAMESPACE}node"), start=1):
        name = node.get("id")
        if name is None or name in nodes:
            what = "no id" if name is None else f"the id '{name}', as another has"
            raise source.wrong(f"node {number} has {what}")
        nodes.add(name)
    for number, edge in enumerate(graph.iter(f"{_NAMESPACE}edge"), start=1):
        for end in ("source", "target"):
            if edge.get(end) not in nodes:
                raise source.wrong(f"edge {number} has the {end} '{edge.get(end)}', and no node has this id")


def _with_text_attributes(root: ET.Element) -> None:
    """Every value is text, since files disagree with the types that they state; values of no key go."""
    known = set()
    for key in root.findall(f"{_NAMESPACE}key"):
        if key.get("id") is None or (key.get("attr.name") is None and key.get("yfiles.type") is None):
            root.remove(key)
            continue
        key.set("attr.type", "string")
        for default in key.findall(f"{_NAMESPACE}default"):
            default.text = default.text or ""
        known.add(key.get("id"))
    for element in list(root.iter()):
        for item in element.findall(f"{_NAMESPACE}data"):
            if item.get("key") not in known:
                element.remove(item)


def _without_hyperedges(graph: ET.Element) -> int:
    """Take hyperedges away, which networkx refuses; how many there were."""
    found = 0
    for parent in list(graph.iter()):
        for hyperedge in parent.findall(f"{_NAMESPACE}hyperedge"):
            parent.remove(hyperedge)
            found += 1
    return found


def _with_numbered_edges(root: ET.Element, graph: ET.Element) -> None:
    """Give each edge a number and no other id: networkx merges edges that share theirs, or have none.

    All are directed to networkx, which otherwise forgets the order of their ends.
    """
    key = {"id": "edge-number", "for": "edge", "attr.name": "edge", "attr.type": "string"}
    root.append(ET.Element(f"{_NAMESPACE}key", key))
    for number, edge in enumerate(list(graph.iter(f"{_NAMESPACE}edge"))):
        edge.attrib = {"source": edge.attrib["source"], "target": edge.attrib["target"], "id": f"e{number}"}
        ET.SubElement(edge, f"{_NAMESPACE}data", {"key": "edge-number"}).text = str(number)
    for inner in graph.iter(f"{_NAMESPACE}graph"):
        inner.set("edgedefault", "directed")


def _with_defaults(graph: nx.MultiDiGraph) -> nx.MultiDiGraph:
    """The graph with the defaults of its keys where nodes and edges say nothing."""
    of_nodes, of_edges = (graph.graph.get(f"{kind}_default", {}) for kind in ("node", "edge"))
    for _, attributes in graph.nodes(data=True):
        attributes.update({**of_nodes, **attributes})
    for _, _, attributes in graph.edges(data=True):
        attributes.update({**of_edges, **attributes})
    return graph
