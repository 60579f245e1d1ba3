"""How much room a text takes on the page, in points, by the outlines of the font that matplotlib brings."""

from __future__ import annotations

from functools import lru_cache

from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

FAMILY = "DejaVu Sans"
_SLACK = 1.03  # pixel fonts are hinted to whole pixels, which may widen a text a little


@lru_cache(maxsize=8192)
def extent(text: str, size: float, bold: bool = False) -> tuple[float, float]:
    """Width and height of one line of text; the height is that of a full line, whatever its letters."""
    font = FontProperties(family=FAMILY, size=size, weight="bold" if bold else "normal")
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    _, height, _ = text_to_path.get_text_width_height_descent("lp", font, ismath=False)
    return width * _SLACK + 1.0, height * 1.08 + 1.0
