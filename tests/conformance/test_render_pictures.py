"""Models as files: texts by suffix, and pictures, which are compared with what the text says where Graphviz is installed."""

import importlib.util
import json
import shutil
import subprocess
import sys
import types

import pytest
from render_models import EDGES, mixture, read_dot, special_names, with_params

import ppl
from ppl.contrib.render import ModelGraph, Node, RenderError, Structure

pytestmark = pytest.mark.strict


def draw(text):
    """Return what Graphviz shows of a DOT text: boxes as pairs of label and names, texts of nodes, edges between these texts."""
    answer = subprocess.run(["dot", "-Tjson"], input=text.encode(), capture_output=True, check=True, timeout=60)
    assert answer.stderr == b""
    picture = json.loads(answer.stdout)
    shown = {
        item["_gvid"]: "\n".join(step["text"] for step in item["_ldraw_"] if step["op"] == "T") for item in picture["objects"]
    }
    clusters = picture["objects"][: picture["_subgraph_cnt"]]
    boxes = [(shown[cluster["_gvid"]], sorted(shown[node] for node in cluster["nodes"])) for cluster in clusters]
    nodes = [shown[item["_gvid"]] for item in picture["objects"][len(clusters) :]]
    return boxes, nodes, [(shown[edge["tail"]], shown[edge["head"]]) for edge in picture.get("edges", ())]


@pytest.mark.backends("numpy")
@pytest.mark.parametrize("model", [*EDGES, with_params, special_names], ids=lambda model: model.__name__)
def test_graphviz_shows_what_the_text_says(backend, model):
    graph = ppl.render_model(model, render_distributions=True, render_params=True)
    paths, _, edges = read_dot(graph.dot)
    assert set(edges) == set(graph.edges)
    if shutil.which("dot") is None:
        return
    boxes, texts, arrows = draw(graph.dot)
    around = {path[:depth] for path in paths for depth in range(1, len(path) + 1)}
    inside = {path: [name for inner, names in paths.items() if inner[: len(path)] == path for name in names] for path in around}
    assert sorted(boxes) == sorted((path[-1], sorted(names)) for path, names in inside.items())
    assert sorted(texts[:-1]) == sorted(graph.nodes)
    listed = [f"{name} {'in' if node.kind == 'param' else '~'} {node.text}" for name, node in graph.nodes.items()]
    assert texts[-1] == "\n".join(line for line in listed if not line.endswith(("~ deterministic", "~ factor")))
    assert sorted(arrows) == sorted(graph.edges)


def test_texts_are_written_by_suffix(backend, tmp_path):
    graph = ppl.render_model(mixture, filename=tmp_path / "model.dot")
    assert (tmp_path / "model.dot").read_text(encoding="utf-8") == graph.dot
    assert graph.save(tmp_path / "model.mmd").read_text(encoding="utf-8") == graph.mermaid
    assert graph._repr_markdown_() == f"```mermaid\n{graph.mermaid}\n```"
    assert repr(graph) == "ModelGraph(4 sites, 3 edges)"


@pytest.fixture
def graph():
    return ModelGraph(Structure({"x": Node("x", "latent", "Normal")}, ()))


def test_without_the_package_the_sentence_says_what_to_do(graph, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "graphviz", None)
    with pytest.raises(RenderError, match=r"package graphviz.*not installed.*pip install graphviz.*graph\.dot"):
        graph.render(tmp_path / "model.svg")
    assert graph._repr_svg_() is None
    assert not list(tmp_path.iterdir())


def fake_graphviz(pipe):
    package = types.ModuleType("graphviz")
    package.FORMATS = {"svg", "pdf"}
    package.ExecutableNotFound = type("ExecutableNotFound", (RuntimeError,), {})

    class Source:
        def __init__(self, text):
            self.text = text

        def pipe(self, format):
            return pipe(package, self.text, format)

    package.Source = Source
    return package


def test_without_the_program_the_sentence_says_what_to_do(graph, monkeypatch, tmp_path):
    def missing(package, text, format):
        raise package.ExecutableNotFound

    monkeypatch.setitem(sys.modules, "graphviz", fake_graphviz(missing))
    with pytest.raises(RenderError, match=r"program dot of Graphviz.*not on the path.*graph\.mermaid"):
        graph.render(tmp_path / "model.svg")
    assert graph._repr_svg_() is None


def test_pictures_are_what_graphviz_draws(graph, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "graphviz", fake_graphviz(lambda package, text, format: f"{format}:{text}".encode()))
    assert graph.render(tmp_path / "model.svg").read_text() == f"svg:{graph.dot}"
    assert graph.save(tmp_path / "model") == tmp_path / "model.pdf"
    assert graph._repr_svg_() == f"svg:{graph.dot}"
    with pytest.raises(RenderError, match="'docx'"):
        graph.save(tmp_path / "model.docx")


def test_a_picture_where_graphviz_is_installed_and_a_sentence_elsewhere(graph, tmp_path):
    if shutil.which("dot") is None or importlib.util.find_spec("graphviz") is None:
        with pytest.raises(RenderError, match=r"needs the (Python package graphviz|program dot)"):
            graph.render(tmp_path / "model.svg")
        return
    assert ">x</text>" in graph.render(tmp_path / "model.svg").read_text(encoding="utf-8")
    assert ">x</text>" in graph._repr_svg_()
    assert graph.save(tmp_path / "model.png").read_bytes().startswith(b"\x89PNG")
    assert graph.save(tmp_path / "model").read_bytes().startswith(b"%PDF")
