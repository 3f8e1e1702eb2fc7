"""Models as graphs: edges known from how each model is written, texts read back by small parsers."""

import subprocess
import sys

import pytest
from render_models import (
    DATA,
    EDGES,
    NAMES,
    SCALES,
    branching,
    chain,
    crossed,
    eight_schools,
    eight_schools_apart,
    minibatch,
    mixture,
    pairs,
    read_dot,
    read_mermaid,
    special_names,
    with_params,
)  # fmt: skip

import ppl
from ppl import constraints, handlers, ops
from ppl import distributions as dist
from ppl.contrib.render import ModelGraph, Node, Plate, RenderError, Structure, evidence, find_structure
from ppl.errors import PplWarning

pytestmark = pytest.mark.strict


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


def test_names_with_special_characters_come_back(backend):
    graph = ppl.render_model(special_names, render_distributions=True)
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


def test_an_unknown_format_is_refused(backend):
    with pytest.raises(RenderError, match=r"'html'.*'dot', 'mermaid'"):
        ppl.render_model(mixture, format="html")


def test_importing_the_library_does_not_load_it():
    code = "import sys, ppl; print('ppl.contrib.render' in sys.modules); ppl.render_model; print('ppl.infer' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["False", "False"]
