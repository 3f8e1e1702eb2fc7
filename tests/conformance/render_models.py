"""Models whose edges are known from how they are written, and small parsers of the texts that show them."""

import html
import re

import numpy

import ppl
from ppl import constraints, handlers, ops
from ppl import distributions as dist

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


def special_names():
    value = 0.0
    for name in NAMES:
        value = ppl.sample(name, dist.Normal(value, 1.0))
    with ppl.plate('pl"a[te', 2):
        ppl.sample("z", dist.Normal(value, 1.0))


def pairs(text):
    return {tuple(pair.split("-")) for pair in text.split()}
