"""Rendered parts: machined parts as a line camera sees them, with defects and exact masks, for tests and demos.

They are redistributable pictures at any size. They never stand in for a real data set where accuracy is claimed.
"""

from .dataset import write_parts
from .render import DEFECTS, KINDS, Part, render_part

__all__ = ["DEFECTS", "KINDS", "Part", "render_part", "write_parts"]
