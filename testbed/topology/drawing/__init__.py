"""Pictures of networks: `compose` decides where everything is, `render` draws it."""

from testbed.topology.drawing.compose import Drawing, Route, Wish, compose
from testbed.topology.drawing.render import FORMATS, Format, render

__all__ = ["FORMATS", "Drawing", "Format", "Route", "Wish", "compose", "render"]
