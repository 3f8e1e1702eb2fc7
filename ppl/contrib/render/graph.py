"""The graph of a model as DOT, as Mermaid, and as a picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from ppl.contrib.render import dot, mermaid
from ppl.contrib.render.structure import Structure, find_structure
from ppl.errors import PplError

FORMATS = ("dot", "mermaid")
TEXT_SUFFIXES = {".dot": "dot", ".gv": "dot", ".mmd": "mermaid", ".mermaid": "mermaid"}


class RenderError(PplError, RuntimeError):
    """A model's picture cannot be drawn: the format is unknown, or Graphviz is not installed."""


class ModelGraph:
    """The graph of a model, as text and as a picture.

    :param structure: its sites and edges.
    :param render_distributions: whether to list the distributions, and the constraints of parameters.
    :param format: ``"dot"`` or ``"mermaid"``, the text that ``str`` gives.

    ``dot`` and ``mermaid`` need nothing installed. Notebooks show the picture where Graphviz is installed and the Mermaid text,
    which many of them draw, elsewhere.
    """

    def __init__(self, structure: Structure, render_distributions: bool = False, format: str = "dot") -> None:
        if format not in FORMATS:
            raise RenderError(f"unknown format {format!r}; expected one of {', '.join(map(repr, FORMATS))}")
        self.structure = structure
        self.render_distributions = render_distributions
        self.format = format

    @property
    def nodes(self) -> dict[str, Any]:
        """The sites by name."""
        return self.structure.nodes

    @property
    def edges(self) -> tuple[tuple[str, str], ...]:
        """Pairs of site names, from parent to child."""
        return self.structure.edges

    @property
    def dot(self) -> str:
        """The graph in the language of Graphviz."""
        return dot.text(self.structure, self.render_distributions)

    @property
    def mermaid(self) -> str:
        """The graph as a Mermaid flowchart."""
        return mermaid.text(self.structure, self.render_distributions)

    def __str__(self) -> str:
        return self.dot if self.format == "dot" else self.mermaid

    def __repr__(self) -> str:
        return f"ModelGraph({len(self.nodes)} sites, {len(self.edges)} edges)"

    def save(self, filename: str | PathLike[str]) -> Path:
        """Write a file and return its path: text for ``.dot``, ``.gv``, ``.mmd`` and ``.mermaid``, else a picture.

        :raises RenderError: as :meth:`render`.
        """
        path = Path(filename)
        kind = TEXT_SUFFIXES.get(path.suffix.lower())
        if kind is None:
            return self.render(path)
        path.write_text(self.dot if kind == "dot" else self.mermaid, encoding="utf-8")
        return path

    def render(self, filename: str | PathLike[str]) -> Path:
        """Write a picture through Graphviz and return its path.

        :param filename: the suffix decides the format, such as ``.svg`` or ``.png``; without one it is ``.pdf``.
        :raises RenderError: if the format is unknown, or the package ``graphviz`` or its program ``dot`` is missing.
        """
        path = Path(filename)
        if not path.suffix:
            path = path.with_suffix(".pdf")
        path.write_bytes(self._picture(path.suffix[1:].lower()))
        return path

    def _picture(self, kind: str) -> bytes:
        try:
            import graphviz
        except ImportError as error:
            raise RenderError(
                "a picture of a model needs the Python package graphviz, which is not installed; try pip install graphviz, "
                "or the texts graph.dot and graph.mermaid, which need nothing"
            ) from error
        if kind not in graphviz.FORMATS:
            raise RenderError(f"Graphviz draws no {kind!r} files; expected a suffix such as .svg, .png or .pdf")
        try:
            return graphviz.Source(self.dot).pipe(format=kind)
        except graphviz.ExecutableNotFound as error:
            raise RenderError(
                "a picture of a model needs the program dot of Graphviz, which is not on the path; try the system's package "
                "graphviz, or the texts graph.dot and graph.mermaid, which need nothing"
            ) from error

    def _repr_svg_(self) -> str | None:
        try:
            return self._picture("svg").decode("utf-8")
        except RenderError:
            return None

    def _repr_markdown_(self) -> str:
        return f"```mermaid\n{self.mermaid}\n```"


def render_model(
    model: Callable[..., Any],
    model_args: tuple[Any, ...] = (),
    model_kwargs: Mapping[str, Any] | None = None,
    filename: str | PathLike[str] | None = None,
    render_distributions: bool = False,
    render_params: bool = False,
    format: str = "dot",
) -> ModelGraph:
    """Return the graph of a model: sites, direct dependences, plates as nested boxes, observed sites shaded.

    :param model: the model.
    :param model_args: its arguments.
    :param model_kwargs: its keyword arguments.
    :param filename: a file to write as well; its suffix decides the kind (see :meth:`ModelGraph.save`).
    :param render_distributions: whether to list the distributions, and the constraints of parameters.
    :param render_params: whether to draw the parameters, as squares.
    :param format: ``"dot"`` or ``"mermaid"``, the text that ``str`` gives.
    :raises RenderError: if ``format`` is unknown, or a picture is asked for and Graphviz is missing.

    Deterministic sites are dashed boxes, factors black ones. Edges come from running the model again with one value changed at
    a time (see :mod:`ppl.contrib.render.structure` for what this cannot see).

    >>> import ppl
    >>> from ppl import distributions as dist
    >>> def model():
    ...     mean = ppl.sample("mean", dist.Normal(0.0, 1.0))
    ...     with ppl.plate("rows", 3):
    ...         ppl.sample("y", dist.Normal(mean, 1.0), obs=ppl.ops.zeros((3,)))
    >>> print(ppl.render_model(model, format="mermaid"))
    flowchart TD
        n0(["mean"]):::latent
        subgraph p0["rows #91;3#93;"]
            n1(["y"]):::observed
        end
        n0 --> n1
        classDef latent fill:#fff,stroke:#000,color:#000
        classDef observed fill:#ccc,stroke:#000,color:#000
    """
    if format not in FORMATS:
        raise RenderError(f"unknown format {format!r}; expected one of {', '.join(map(repr, FORMATS))}")
    graph = ModelGraph(find_structure(model, model_args, model_kwargs, render_params), render_distributions, format)
    if filename is not None:
        graph.save(filename)
    return graph
