"""What the tests of the funsor backend run, each array library in a process of its own: prints a JSON object of findings.

``python funsor_runs.py LIBRARY EXAMPLES LENGTH``: the arrays beneath, how many random graphs, how long a chain. Each finding
under ``"differences"`` is a distance from an oracle that uses numpy and scipy alone, relative to oracles above one.
"""

import dataclasses
import itertools
import json
import math
import pickle
import sys
import threading

import hypothesis
import numpy
from factor_graphs import MOST_ASSIGNMENTS, Graph, assignments, gradients, graphs, log_evidence
from ppl_funsor import elimination as funsor_elimination
from scipy import special, stats

import ppl
from ppl import distributions as dist
from ppl import infer, ops, registry
from ppl.errors import BackendError, ExponentialContraction
from ppl.ops import autodiff, elimination
from ppl.ops.semiring import MAX_PRODUCT, SUM_PRODUCT

PARALLEL = {"enumerate": "parallel"}
WET = numpy.array([[[0.9, 0.1], [0.7, 0.3]], [[0.4, 0.6], [0.05, 0.95]]])
TRANSITION = numpy.array([[0.7, 0.2, 0.1], [0.3, 0.4, 0.3], [0.1, 0.25, 0.65]])
LOCS = numpy.array([-1.0, 0.5, 2.0])
DATA = numpy.array([0.3, -0.8, 1.9, 0.4, 2.2])


def distance(found, oracle):
    """Return the greatest difference, relative above one; equal infinities do not differ."""
    found, oracle = numpy.asarray(found, dtype=float), numpy.asarray(oracle, dtype=float)
    same = found == oracle
    with numpy.errstate(invalid="ignore"):
        apart = numpy.where(same, 0.0, abs(found - oracle) / numpy.maximum(1.0, abs(oracle)))
    return float(numpy.max(apart, initial=0.0)) if found.shape == oracle.shape else math.inf


def evaluated(function, *args):
    """Return ``function(*args)``; on jax as one program, which takes less time than one for each operation."""
    return (ops.compile.compile(function) if registry.active().library == "jax" else function)(*args)


def eliminated(graph, **settings):
    """Return what is left of a graph as one array over its batch symbols, or ``"refused"``."""
    dims = [symbols for _, symbols in graph.factors]
    left = []

    def run(arrays):
        factors = list(zip(arrays, dims, strict=True))
        results = elimination.eliminate(
            factors, graph.variables, graph.plates, plate_scales=graph.scales, keep=graph.kept, **settings
        )
        left[:] = [factor.dims for factor in results]
        return [factor.array for factor in results]

    try:
        results = evaluated(run, [ops.array(array) for array, _ in graph.factors])
    except ExponentialContraction:
        return "refused"
    batch, sizes = graph.batch(), graph.sizes()
    total = numpy.zeros([sizes[symbol] for symbol in batch])
    for array, dims in zip(results, left, strict=True):
        order = sorted(range(len(dims)), key=lambda axis, dims=dims: batch.index(dims[axis]))
        total = total + numpy.transpose(ops.to_numpy(array), order).reshape([sizes[s] if s in dims else 1 for s in batch])
    return total


def on_random_graphs(library, examples):
    """Return the greatest distances of our own engine and of funsor from the table of all assignments, and the refusals."""
    found = {"own": 0.0, "funsor": 0.0, "graphs": 0, "refused": 0, "disputed": []}

    @hypothesis.settings(max_examples=examples, deadline=None, database=None, derandomize=examples < 1000,
                         suppress_health_check=list(hypothesis.HealthCheck))  # fmt: skip
    @hypothesis.example(
        Graph([(numpy.zeros((2, 2)), "pa"), (numpy.zeros((2, 2)), "qb"), (numpy.zeros((2,) * 4), "pqab")], "ab", "pq")
    )
    @hypothesis.given(graphs())
    def compare(graph):
        hypothesis.assume(assignments(graph) <= MOST_ASSIGNMENTS)
        with ppl.pyro_backend(library):
            own = eliminated(graph)
        second = eliminated(graph)
        found["graphs"] += 1
        if isinstance(own, str) or isinstance(second, str):
            found["refused"] += 1
            if not (isinstance(own, str) and isinstance(second, str)):
                found["disputed"].append(repr(graph))
            return
        oracle = log_evidence(graph)
        for name, result in (("own", own), ("funsor", second)):
            found[name] = max(found[name], distance(result, oracle))

    compare()
    return found


def a_graph(seed=0):
    """A tree over nested plates of which one is repeated, with impossible entries, one of them for a whole slice."""
    rng = numpy.random.default_rng(seed)
    a, b, c = rng.normal(size=3), rng.normal(size=(2, 3, 2)), rng.normal(size=(3, 2, 2))
    a[1], b[0, :, 1], c[1, 1, 0] = -math.inf, -math.inf, -math.inf
    return Graph([(a, "a"), (b, "pab"), (c, "qpb")], "ab", "pq", {"q": 2})


def derivatives():
    """Return distances of derivatives, and whether those of an impossible evidence are finite."""
    graph = a_graph()

    def evidence(arrays):
        (result,) = elimination.eliminate(
            list(zip(arrays, ("a", "pab", "qpb"), strict=True)), "ab", "pq", plate_scales={"q": 2.0}
        )
        return result.array

    arrays = [ops.array(array) for array, _ in graph.factors]
    expected = gradients(graph)
    compiled = ops.compile.compile(autodiff.grad(evidence))(arrays)
    plain = compiled if registry.active().library == "jax" else autodiff.grad(evidence)(arrays)
    nowhere = [ops.full((3,), -math.inf), *arrays[1:]]
    return {
        "gradient": max(distance(ops.to_numpy(x), y) for x, y in zip(plain, expected, strict=True)),
        "compiled gradient": max(distance(ops.to_numpy(x), y) for x, y in zip(compiled, expected, strict=True)),
        "impossible evidence": distance(ops.to_numpy(evaluated(evidence, nowhere)), -math.inf),
        "gradient of an impossible evidence": max(
            distance(0 * ops.to_numpy(x), numpy.zeros(x.shape)) for x in evaluated(autodiff.grad(evidence), nowhere)
        ),
    }  # fmt: skip


def semirings():
    graph = a_graph()
    (a, _), (b, _), (c, _) = graph.factors
    best = numpy.max(a + numpy.max(b + 2 * c.sum(0)[:, None, :], -1).sum(0))
    plain = Graph([(numpy.exp(array), dims) for array, dims in graph.factors], "ab", "pq", {"q": 2})
    return {
        "most probable": distance(eliminated(graph, semiring=MAX_PRODUCT), best),
        "not in logarithms": distance(eliminated(plain, semiring=SUM_PRODUCT), numpy.exp(log_evidence(graph))),
        "no factor": distance(eliminated(Graph([], "a", "p")), 0.0),
        "far apart": distance(eliminated(Graph([(numpy.array([0.0, -2e3]), "a"), (numpy.array([-2e3, 0.0]), "a")], "a")),
                              math.log(2) - 2e3),
    }  # fmt: skip


def chain(length):
    """Return the distance of a chain's evidence from that of a loop over its states."""
    rng = numpy.random.default_rng(length)
    tables = [rng.normal(size=4), *rng.normal(size=(length - 1, 4, 4))]
    states = tables[0]
    for table in tables[1:]:
        states = special.logsumexp(states[:, None] + table, axis=0)
    names = [chr(0x100 + t) for t in range(length)]
    dims = [names[0], *(one + other for one, other in itertools.pairwise(names))]
    return distance(eliminated(Graph(list(zip(tables, dims, strict=True)), "".join(names))), special.logsumexp(states))


def rain():
    x = ppl.sample("rain", dist.Categorical(ops.array([0.8, 0.2])), infer=PARALLEL)
    ppl.sample("wet", dist.Categorical(ops.array(WET)[x, 1]), obs=ops.array(1))


def mixture(probs, size=6):
    with ppl.plate("rows", size, subsample_size=3, subsample=ops.arange(3)):
        x = ppl.sample("x", dist.Categorical(probs), infer=PARALLEL)
        ppl.sample("y", dist.Normal(ops.array(LOCS)[x], 1.0), obs=ops.array(DATA[:3]))


def hidden_markov():
    x = 0
    for t in ppl.markov(range(len(DATA))):
        x = ppl.sample(f"x_{t}", dist.Categorical(ops.array(TRANSITION)[x]), infer=PARALLEL)
        ppl.sample(f"y_{t}", dist.Normal(ops.array(LOCS)[x], 1.0), obs=ops.array(DATA[t]))


def nested():
    top = ppl.sample("top", dist.Bernoulli(0.3), infer=PARALLEL)
    with ppl.plate("outer", 2, dim=-2):
        middle = ppl.sample("middle", dist.Bernoulli(0.2 + 0.5 * top), infer=PARALLEL)
        with ppl.plate("inner", 3, dim=-1):
            ppl.sample("y", dist.Normal(middle + 0.5 * top, 1.0), obs=ops.array(DATA[:3]))


def evidence_of(model, *args, nesting=2):
    elbo = infer.TraceEnum_ELBO(max_plate_nesting=nesting)
    return -float(evaluated(lambda *args: elbo.differentiable_loss(model, lambda *args: None, *args), *args))


def models():
    """Return the distances of models' evidences, under TraceEnum_ELBO, from their closed forms."""
    probs = numpy.array([0.2, 0.5, 0.3])
    rows = numpy.log(probs) + stats.norm.logpdf(DATA[:3, None], LOCS)
    forward = numpy.log(TRANSITION[0]) + stats.norm.logpdf(DATA[0], LOCS)
    for y in DATA[1:]:
        forward = special.logsumexp(forward[:, None] + numpy.log(TRANSITION), axis=0) + stats.norm.logpdf(y, LOCS)
    tree = 0.0
    for top, weight in ((0, 0.7), (1, 0.3)):
        on = 0.2 + 0.5 * top
        inner = [stats.norm.pdf(DATA[:3], middle + 0.5 * top).prod() for middle in (0, 1)]
        tree += weight * ((1 - on) * inner[0] + on * inner[1]) ** 2
    loss = autodiff.grad(lambda x: -infer.TraceEnum_ELBO(max_plate_nesting=1).differentiable_loss(mixture, lambda x: None, x))
    slope = 2 * special.softmax(rows, axis=1).sum(0) / probs
    # The derivative for unnormalized probabilities, as a categorical distribution takes them.
    slope = slope - 2 * len(rows)
    return {
        "rain": distance(evidence_of(rain), math.log(0.43)),
        "subsampled mixture": distance(evidence_of(mixture, ops.array(probs)), 2 * special.logsumexp(rows, axis=1).sum()),
        "gradient of the mixture": distance(ops.to_numpy(evaluated(loss, ops.array(probs))), slope),
        "hidden Markov model": distance(evidence_of(hidden_markov), special.logsumexp(forward)),
        "nested plates": distance(evidence_of(nested), math.log(tree)),
    }


def in_threads():
    """Return the greatest distance of what three threads found at once."""
    graph, found = a_graph(), []
    oracle, backend = log_evidence(graph), registry.active()

    def work():
        with ppl.pyro_backend(backend):
            found.extend(distance(eliminated(graph), oracle) for _ in range(2))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return max(found) if len(found) == 6 else math.inf


def sentence(action):
    """Return the text of the error that an action raises."""
    try:
        action()
    except (BackendError, ExponentialContraction) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing was raised"


def entered(*names):
    with ppl.pyro_backend(names[0]):
        registry.load(names[1])


def crossed():
    factors = [(ops.zeros((2, 3)), "pa"), (ops.zeros((4, 3)), "qb"), (ops.zeros((2, 4, 3, 3)), "pqab")]
    elimination.eliminate(factors, "ab", "pq")


def dense():
    """Sixteen variables of four values, each pair of which has a factor."""
    names = "abcdefghijklmnop"
    elimination.eliminate([(ops.zeros((4, 4)), "".join(pair)) for pair in itertools.combinations(names, 2)], names)


def single_precision():
    graph = a_graph()
    small = [(array.astype("float32"), dims) for array, dims in graph.factors]
    return distance(eliminated(dataclasses.replace(graph, factors=small)), log_evidence(graph))


def main(library, examples, length):
    if library == "jax":
        import jax

        jax.config.update("jax_disable_most_optimizations", True)
    counted, sum_product = [], funsor_elimination.partial_sum_product
    funsor_elimination.partial_sum_product = lambda *args, **kwargs: counted.append(args) or sum_product(*args, **kwargs)
    with ppl.pyro_backend(library), ppl.pyro_backend("funsor") as backend:
        ops.set_default_dtype("float64")
        normal = pickle.dumps(dist.Normal(0.0, 1.0))
        facts = {
            "name": backend.name,
            "library": backend.library,
            "address": backend.address,
            "again": registry.load("funsor") is registry.load(f"funsor:{library}") is backend,
            "graphs": on_random_graphs(library, examples),
            "differences": {
                **derivatives(), **semirings(), **models(), "chain": chain(length), "threads": in_threads(),
            },
            "single precision": single_precision(),
            "control": distance(eliminated(dataclasses.replace(a_graph(), scales={})), log_evidence(a_graph())),
            "sums by funsor": len(counted),
            "crossed plates": sentence(crossed),
            "dense graph": sentence(dense),
        }  # fmt: skip
    with ppl.pyro_backend("numpy" if library != "numpy" else "torch"):
        facts["unpickled"] = pickle.loads(normal).backend is backend
    others = [name for name in ("numpy", "torch", "jax") if name != library][:1]
    facts["second library"] = sentence(lambda: entered(*others, "funsor"))
    facts["parents"] = sorted({"pyro", "numpyro"} & set(sys.modules))
    return facts


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
