"""Pictures of networks: `compose` decides where everything is, `render` draws it."""

from testbed import plotting

plotting.prepare()

from testbed.topology.drawing.compose import Drawing, compose  # noqa: E402
from testbed.topology.drawing.render import FORMATS, Format, render  # noqa: E402
from testbed.topology.drawing.wish import Route, Wish  # noqa: E402

__all__ = ["FORMATS", "Drawing", "Format", "Route", "Wish", "compose", "render"]
