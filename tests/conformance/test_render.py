"""Models as graphs: edges known from how each model is written, texts read back by small parsers."""

import html
import re
import subprocess
import sys
import types

import numpy
import pytest

import ppl
from ppl import constraints, handlers, ops
from ppl import distributions as dist
from ppl.contrib.render import ModelGraph, Node, Plate, RenderError, Structure, evidence, find_structure
from ppl.errors import PplWarning

pytestmark = pytest.mark.strict

DATA = numpy.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
SCALES = numpy.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


# -- readers --

TOKEN = re.compile(r'\s*("(?:[^"\\]|\\.)*"|->|[{}\[\];,=]|[A-Za-z_][A-Za-z_0-9]*|[0-9.]+)', re.DOTALL)


def read_dot(text):
    """Return boxes (paths of labels to names), node attributes and edges of a DOT text; any other text is an error."""
    tokens, position = [], 0
    text = text.rstrip()
    while position < len(text):
        match = TOKEN.match(text, position)
        assert match, f"no DOT at {text[position : position + 20]!r}"
        tokens.append(match[1])
        position = match.end()
    nodes, edges, boxes = {}, [], {}

    def take(expected=None):
        token = tokens.pop(0)
        assert expected is None or token == expected, (token, expected)
        return token

    def name():
        token = take()
        assert token[0] == '"' or token.isidentifier(), token
        return re.sub(r"\\(.)", lambda m: {"n": "\n"}.get(m[1], m[1]), token[1:-1]) if token[0] == '"' else token

    def assignments(end):
        found = {}
        while tokens[0] != end:
            key = name()
            take("=")
            found[key] = take()
            if tokens[0] == ",":
                take()
        return found

    def body(path):
        label = path
        while tokens[0] != "}":
            if tokens[0] == "subgraph":
                take()
                assert name().startswith("cluster")
                take("{")
                body(path)
            elif tokens[1] == "=":
                key, _, value = take(), take(), name()
                if key == "label":
                    label = (*path, value)
                    path = label
            else:
                first = name()
                if tokens[0] == "->":
                    take()
                    edges.append((first, name()))
                else:
                    take("[")
                    nodes[first] = assignments("]")
                    take("]")
                    boxes.setdefault(path, []).append(first)
            if tokens[0] == ";":
                take()
        take("}")

    take("digraph")
    name()
    take("{")
    body(())
    assert not tokens
    return boxes, nodes, edges


NODE = re.compile(r'^(\w+)(\(\[|\[)"([^"]*)"(\]\)|\]):::(\w+)$')


def read_mermaid(text):
    """Return the same of a Mermaid flowchart: boxes, kinds of nodes, edges."""
    lines = [line.strip() for line in text.splitlines()]
    assert lines.pop(0) == "flowchart TD"
    boxes, kinds, edges, names, path, classes = {}, {}, [], {}, (), set()

    def plain(label):
        return html.unescape(re.sub(r"#(\d+);", r"&#\1;", label.replace("<br/>", "\n")))

    for line in lines:
        node, edge = NODE.match(line), re.fullmatch(r"(\w+) --> (\w+)", line)
        box = re.fullmatch(r'subgraph \w+\["([^"]*)"\]', line)
        if node:
            identifier, opening, label, closing, kind = node.groups()
            assert (opening, closing) in (("([", "])"), ("[", "]"))
            names[identifier], kinds[plain(label)] = plain(label), kind
            boxes.setdefault(path, []).append(plain(label))
        elif edge:
            edges.append(edge.groups())
        elif box:
            path = (*path, plain(box[1]))
        elif line == "end":
            path = path[:-1]
        else:
            assert line.startswith("classDef "), line
            classes.add(line.split()[1])
    assert path == ()
    assert set(kinds.values()) <= classes
    return boxes, kinds, [(names[parent], names[child]) for parent, child in edges]


# -- models, and the edges that their lines say --


def eight_schools(scales, y=None):
    mu = ppl.sample("mu", dist.Normal(0.0, 5.0))
    tau = ppl.sample("tau", dist.HalfCauchy(5.0))
    with ppl.plate("schools", 8):
        theta = ppl.sample("theta", dist.Normal(mu, tau))
        ppl.sample("y", dist.Normal(theta, ops.array(scales)), obs=None if y is None else ops.array(y))


def eight_schools_apart():
    mu = ppl.sample("mu", dist.Normal(0.0, 5.0))
    tau = ppl.sample("tau", dist.HalfCauchy(5.0))
    with ppl.plate("schools", 8):
        eta = ppl.sample("eta", dist.Normal(0.0, 1.0))
        theta = ppl.deterministic("theta", mu + tau * eta)
        ppl.sample("y", dist.Normal(theta, ops.array(SCALES)), obs=ops.array(DATA))


def mixture():
    weights = ppl.sample("weights", dist.Dirichlet(ops.ones((3,))))
    with ppl.plate("components", 3):
        locs = ppl.sample("locs", dist.Normal(0.0, 10.0))
    with ppl.plate("data", 8):
        component = ppl.sample("component", dist.Categorical(weights))
        ppl.sample("y", dist.Normal(ops.take(locs, component, axis=0), 1.0), obs=ops.array(DATA))


def crossed():
    base = ppl.sample("base", dist.Normal(0.0, 1.0))
    rows, columns = ppl.plate("rows", 3, dim=-2), ppl.plate("columns", 4, dim=-1)
    with rows:
        row = ppl.sample("row", dist.Normal(base, 1.0))
    with columns:
        column = ppl.sample("column", dist.Normal(base, 1.0))
    with rows, columns:
        ppl.sample("cell", dist.Normal(row + column, 1.0))
    with columns, rows:
        ppl.sample("other", dist.Normal(row, 1.0))


def minibatch():
    z = ppl.sample("z", dist.Normal(0.0, 1.0))
    with ppl.plate("rows", 8, subsample_size=3) as indices:
        local = ppl.sample("local", dist.Normal(0.0, 1.0))
        ppl.sample("y", dist.Normal(z + local, 1.0), obs=ops.take(ops.array(DATA), indices, axis=0))


def branching():
    z = ppl.sample("z", dist.Bernoulli(0.5))
    if int(z):
        loc = ppl.sample("a", dist.Normal(0.0, 1.0))
    else:
        b = ppl.sample("b", dist.Normal(0.0, 1.0))
        loc = ppl.sample("c", dist.Normal(b, 1.0))
    ppl.sample("y", dist.Normal(loc, 1.0), obs=ops.array(0.3))


def random_length():
    count = ppl.sample("count", dist.Categorical(ops.array([0.2, 0.3, 0.5])))
    total = 0.0
    for step in range(int(count)):
        total = total + ppl.sample(f"x{step}", dist.Normal(0.0, 1.0))
    ppl.sample("y", dist.Normal(total, 1.0), obs=ops.array(0.3))


def with_params():
    scale = ppl.param("scale", lambda: ops.array(2.0), constraint=constraints.positive)
    probs = ppl.param("probs", lambda: ops.array([0.2, 0.3, 0.5]), constraint=constraints.simplex)
    ppl.param("unused", lambda: ops.array(1.0))
    with ppl.plate("rows", 8, subsample_size=3):
        shared = ppl.param("shared", lambda: ops.array(0.5))
        loc = ppl.param("loc", lambda: ops.zeros((8,)), event_dim=0)
        ppl.sample("k", dist.Categorical(probs))
        ppl.sample("x", dist.Normal(loc + shared, scale))
    ppl.factor("penalty", -ops.sum(scale))


def chain():
    previous = ppl.sample("x0", dist.Normal(0.0, 1.0))
    for step in ppl.plate("steps", 3):
        local = ppl.sample(f"w{step}", dist.Normal(previous, 1.0))
        ppl.sample(f"y{step}", dist.Normal(local, 1.0), obs=ops.array(0.1))


def autoregression():
    first = ppl.sample("first", dist.Normal(0.0, 1.0), obs=ops.array(0.4))
    ppl.sample("second", dist.Normal(first, 1.0), obs=ops.array(0.6))


def modulated():
    """Dependence that no parameter of a distribution shows: through a mask, a scale, an observed value."""
    x = ppl.sample("x", dist.Normal(0.0, 1.0))
    with handlers.mask(mask=x > 0.0):
        ppl.sample("masked", dist.Normal(0.0, 1.0))
    with handlers.scale(scale=ops.exp(x)):
        ppl.sample("scaled", dist.Normal(0.0, 1.0))
    ppl.sample("residual", dist.Normal(0.0, 1.0), obs=x - 1.0)


def flat_derivative():
    """A rounding has gradient zero wherever it has one, and an integer has none."""
    x = ppl.sample("x", dist.Normal(0.0, 2.0))
    n = ppl.sample("n", dist.Poisson(3.0))
    ppl.sample("y", dist.Normal(ops.where(x > 0.5, ops.array(1.0), ops.array(-1.0)), 1.0))
    ppl.sample("u", dist.Normal(ops.astype(n, "float64"), 1.0))


def rare_value():
    """No draw will be 2, but the support has it."""
    k = ppl.sample("k", dist.Categorical(ops.array([1.0 - 2e-9, 1e-9, 1e-9])))
    ppl.sample("y", dist.Normal(1.0 if int(k) == 2 else 0.0, 1.0))


def plain_function():
    z = ppl.sample("z", lambda start: ops.array(start + 1.0), 2.0)
    ppl.sample("y", dist.Normal(z, 1.0))


def minibatch_behind_a_branch():
    """A draw more or less before a plate must not choose other rows, which would look like dependence."""
    z = ppl.sample("z", dist.Bernoulli(0.5))
    if int(z):
        ppl.sample("extra", dist.Normal(0.0, 1.0))
    with ppl.plate("rows", 8, subsample_size=3) as indices:
        ppl.sample("y", dist.Normal(ops.take(ops.array(DATA), indices, axis=0), 1.0))


def hidden_draw():
    with handlers.block():
        hidden = ppl.sample("hidden", dist.Normal(0.0, 1.0))
    z = ppl.sample("z", dist.Normal(0.0, 1.0))
    ppl.sample("y", dist.Normal(hidden + z, 1.0))
    ppl.sample("u", dist.Normal(hidden, 1.0))


def independent_pair():
    x = ppl.sample("x", dist.Normal(0.0, 1.0))
    ppl.sample("y", dist.Normal(0.0 * x, 1.0))
    ppl.sample("k", dist.Bernoulli(0.5))


EDGES = {
    eight_schools_apart: "mu-theta tau-theta eta-theta theta-y",
    mixture: "weights-component component-y locs-y",
    crossed: "base-row base-column row-cell column-cell row-other",
    minibatch: "z-y local-y",
    branching: "z-a z-b z-c z-y a-y b-c c-y",
    random_length: "count-x0 count-x1 count-y x0-y x1-y",
    chain: "x0-w0 x0-w1 x0-w2 w0-y0 w1-y1 w2-y2",
    autoregression: "first-second",
    modulated: "x-masked x-scaled x-residual",
    flat_derivative: "x-y n-u",
    rare_value: "k-y",
    plain_function: "z-y",
    minibatch_behind_a_branch: "z-extra",
    hidden_draw: "z-y",
    independent_pair: "",
}


def pairs(text):
    return {tuple(pair.split("-")) for pair in text.split()}


@pytest.mark.parametrize("model", EDGES, ids=lambda model: model.__name__)
def test_edges_are_those_of_the_lines(backend, model):
    graph = ppl.render_model(model)
    assert set(graph.edges) == pairs(EDGES[model])
    assert len(graph.edges) == len(set(graph.edges))
    assert set(read_dot(graph.dot)[2]) == set(read_mermaid(graph.mermaid)[2]) == pairs(EDGES[model])


def test_arguments_and_what_is_observed(backend):
    observed = ppl.render_model(eight_schools, (SCALES,), {"y": DATA})
    latent = ppl.render_model(eight_schools, model_args=(SCALES,))
    expected = pairs("mu-theta tau-theta theta-y")
    assert set(observed.edges) == set(latent.edges) == expected
    assert {name: node.kind for name, node in observed.nodes.items()} == {
        "mu": "latent", "tau": "latent", "theta": "latent", "y": "observed",
    }  # fmt: skip
    assert latent.nodes["y"].kind == "latent"
    assert read_dot(observed.dot)[1]["y"]["fillcolor"] == '"gray80"'
    assert read_dot(latent.dot)[1]["y"]["fillcolor"] == read_dot(observed.dot)[1]["mu"]["fillcolor"] == '"white"'
    assert read_mermaid(observed.mermaid)[1]["y"] == "observed"
    assert read_mermaid(latent.mermaid)[1]["y"] == "latent"


def test_a_value_through_a_deterministic_site_and_beside_it(backend):
    def model():
        x = ppl.sample("x", dist.Normal(0.0, 1.0))
        double = ppl.deterministic("double", 2.0 * x)
        ppl.deterministic("aside", 3.0 * x)
        ppl.sample("through", dist.Normal(double, 1.0))
        ppl.sample("beside", dist.Normal(3.0 * x, 1.0))

    graph = ppl.render_model(model)
    assert set(graph.edges) == pairs("x-double x-aside double-through x-beside")
    assert graph.nodes["double"].kind == "deterministic"
    assert "dashed" in read_dot(graph.dot)[1]["double"]["style"]


def test_plates_are_boxes_with_sizes(backend):
    boxes = {
        (): ["base"],
        ("rows [3]",): ["row"],
        ("rows [3]", "columns [4]"): ["cell", "other"],
        ("columns [4]",): ["column"],
    }
    graph = ppl.render_model(crossed)
    assert read_dot(graph.dot)[0] == boxes
    assert read_mermaid(graph.mermaid)[0] == boxes
    graph = ppl.render_model(minibatch)
    assert read_dot(graph.dot)[0] == read_mermaid(graph.mermaid)[0] == {(): ["z"], ("rows [3 of 8]",): ["local", "y"]}
    graph = ppl.render_model(chain)
    assert read_dot(graph.dot)[0] == {(): ["x0"], ("steps [3]",): ["w0", "y0", "w1", "y1", "w2", "y2"]}


def test_params_are_squares_and_only_on_request(backend):
    before = ppl.get_param_store().get_state()
    graph = ppl.render_model(with_params, render_params=True, render_distributions=True)
    assert set(graph.edges) == pairs("scale-x probs-k loc-x shared-x scale-penalty")
    boxes, nodes, _ = read_dot(graph.dot)
    assert boxes[()] == ["scale", "probs", "unused", "shared", "penalty", "distributions"]
    assert boxes[("rows [3 of 8]",)] == ["loc", "k", "x"]
    assert [name for name in nodes if nodes[name]["shape"] == "square"] == ["scale", "probs", "unused", "shared", "loc"]
    assert nodes["penalty"]["fillcolor"] == '"black"'
    assert {name: kind for name, kind in read_mermaid(graph.mermaid)[1].items() if name in graph.nodes} == {
        name: node.kind for name, node in graph.nodes.items()
    }
    plain = ppl.render_model(with_params)
    assert set(plain.nodes) == {"k", "x", "penalty"}
    assert plain.edges == ()
    assert ppl.get_param_store().get_state()["params"].keys() == before["params"].keys()


def test_distributions_are_listed_when_asked(backend):
    graph = ppl.render_model(with_params, render_distributions=True, render_params=True)
    listed = ["scale in positive", "probs in simplex", "unused in real", "shared in real", "loc in real", "k ~ Categorical",
              "x ~ Normal"]  # fmt: skip
    assert read_dot(graph.dot)[1]["distributions"]["label"] == '"' + "".join(f"{line}\\l" for line in listed) + '"'
    assert read_mermaid(graph.mermaid)[0][()][-1].split("\n") == listed
    assert "Normal" not in ppl.render_model(eight_schools_apart).dot
    assert ppl.render_model(eight_schools_apart, render_distributions=True).nodes["theta"].text == "deterministic"

    def wrapped():
        ppl.sample("x", dist.HalfCauchy(ops.ones((3,))).to_event(1))
        ppl.sample("u", dist.LogNormal(0.0, 1.0).mask(True))

    assert {name: node.text for name, node in find_structure(wrapped).nodes.items()} == {"x": "HalfCauchy", "u": "LogNormal"}


NAMES = [
    'say "x"',
    "back\\slash\\",
    "two\nlines",
    "a->b; c [d]",
    "<b>&amp;#35;</b>",
    "über μ",
    "end",
    "distributions",
    "`x`",
    "{}",
]


def test_names_with_special_characters_come_back(backend):
    def model():
        value = 0.0
        for name in NAMES:
            value = ppl.sample(name, dist.Normal(value, 1.0))
        with ppl.plate('pl"a[te', 2):
            ppl.sample("z", dist.Normal(value, 1.0))

    graph = ppl.render_model(model, render_distributions=True)
    chained = [*zip(NAMES, [*NAMES[1:], "z"], strict=True)]
    boxes, nodes, edges = read_dot(graph.dot)
    assert edges == chained
    assert set(nodes) == {*NAMES, "z", "distributions_"}
    assert boxes[('pl"a[te [2]',)] == ["z"]
    boxes, kinds, edges = read_mermaid(graph.mermaid)
    assert edges == chained
    assert set(NAMES) <= set(kinds)
    assert boxes[('pl"a[te [2]',)] == ["z"]


def test_the_readers_refuse_broken_texts():
    good = ModelGraph(Structure({"x": Node("x", "latent", "Normal", (Plate("p", 2, 2),))}, ()))
    read_dot(good.dot)
    read_mermaid(good.mermaid)
    for broken in (
        good.dot.replace("}", "", 1),
        good.dot.replace('"x" [', '"x [', 1),
        good.dot + "}",
        good.dot.replace("=", "", 1),
    ):
        with pytest.raises((AssertionError, IndexError)):
            read_dot(broken)
    for broken in (
        good.mermaid.replace("end", ""),
        good.mermaid.replace('"]', "]", 1),
        good.mermaid.replace(":::latent", ":::new"),
    ):
        with pytest.raises(AssertionError):
            read_mermaid(broken)


# -- what the search leaves as it was, and what it says of its limits --


def test_it_leaves_randomness_params_and_handlers_alone(backend):
    scale = ppl.param("scale", lambda: ops.array(3.0), constraint=constraints.positive)
    ppl.set_rng_seed(7)
    expected = float(ops.to_numpy(ppl.sample("x", dist.Normal(0.0, 1.0))))
    ppl.set_rng_seed(7)
    with handlers.trace() as outside:
        ppl.render_model(with_params, render_params=True)
    assert float(ops.to_numpy(ppl.sample("x", dist.Normal(0.0, 1.0)))) == expected
    assert len(outside.trace) == 0
    assert list(ppl.get_param_store().keys()) == ["scale"]
    assert float(ops.to_numpy(ppl.param("scale"))) == pytest.approx(float(ops.to_numpy(scale)), rel=1e-12)
    ppl.clear_param_store()


def test_the_graph_is_the_same_each_time(backend):
    first, second = ppl.render_model(branching), ppl.render_model(branching)
    assert first.dot == second.dot
    assert first.mermaid == second.mermaid == str(ppl.render_model(branching, format="mermaid"))
    assert str(first) == first.dot


def test_an_error_of_the_model_is_its_own(backend):
    def model():
        ppl.sample("x", dist.Normal(0.0, 1.0))
        raise ZeroDivisionError("as it is")

    with pytest.raises(ZeroDivisionError, match="as it is"):
        ppl.render_model(model)
    assert not ppl.runtime.am_i_wrapped()


def test_a_model_that_fails_elsewhere_says_so(backend):
    first = []

    def model():
        x = ppl.sample("x", dist.Normal(0.0, 1.0))
        number = float(ops.to_numpy(x))
        first.append(number)
        if number != first[0]:
            raise ArithmeticError("only here")
        ppl.sample("y", dist.Normal(x, 1.0))

    with pytest.warns(PplWarning, match=r"every other value of 'x'.*ArithmeticError: only here.*missing"):
        assert ppl.render_model(model).edges == ()


def test_randomness_outside_of_sites_says_so(backend):
    count = iter(range(1000))

    def model():
        x = ppl.sample("x", dist.Normal(0.0, 1.0))
        ppl.sample("restless", dist.Normal(float(next(count)), 1.0))
        ppl.sample("y", dist.Normal(x, 1.0))

    with pytest.warns(PplWarning, match="'restless' differ between two runs"):
        assert ppl.render_model(model).edges == (("x", "y"),)


def test_a_branch_that_no_value_reaches_is_the_documented_limit(backend):
    def model(limit):
        x = ppl.sample("x", dist.Normal(0.0, 1.0))
        ppl.sample("y", dist.Normal(1.0 if float(ops.to_numpy(x)) > limit else 0.0, 1.0))

    assert ppl.render_model(model, (3.5,)).edges == (("x", "y"),)
    assert ppl.render_model(model, (1e6,)).edges == ()


def test_an_improper_prior_has_no_draw_and_still_an_edge(backend):
    def model():
        x = ppl.sample("x", dist.ImproperUniform(constraints.positive, (), ()))
        ppl.sample("y", dist.Normal(0.0, x))

    assert ppl.render_model(model).edges == (("x", "y"),)


def test_two_runs_show_the_same_or_not(backend):
    def shown(**changes):
        fn = dist.Normal(changes.get("loc", 0.0), 1.0).expand((3,)).to_event(1).mask(changes.get("mask", True))
        return evidence.collect(fn=fn, value=ops.array([0.5, float("nan")]))

    assert evidence.same(shown(), shown())
    assert not evidence.same(shown(), shown(loc=1e-12))
    assert not evidence.same(shown(), shown(mask=False))
    assert not evidence.same(evidence.collect(fn=dist.Normal(0.0, 1.0)), evidence.collect(fn=dist.Cauchy(0.0, 1.0)))
    assert not evidence.same(evidence.collect(value=1), evidence.collect(other=1))


# -- files and pictures --


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


def test_an_unknown_format_is_refused(backend):
    with pytest.raises(RenderError, match=r"'html'.*'dot', 'mermaid'"):
        ppl.render_model(mixture, format="html")


def test_importing_the_library_does_not_load_it():
    code = "import sys, ppl; print('ppl.contrib.render' in sys.modules); ppl.render_model; print('ppl.infer' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["False", "False"]
