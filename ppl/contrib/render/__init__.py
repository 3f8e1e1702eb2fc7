"""A model as a picture: its sites, what each depends on, and the plates around them."""

from ppl.contrib.render.graph import ModelGraph, RenderError, render_model
from ppl.contrib.render.structure import Node, Plate, Structure, find_structure

__all__ = ["ModelGraph", "Node", "Plate", "RenderError", "Structure", "find_structure", "render_model"]
