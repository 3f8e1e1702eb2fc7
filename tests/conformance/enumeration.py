"""What the tests of enumeration share: a hidden Markov model, and sums by hand over the enumerated dimensions."""

import functools
import itertools
import math

import numpy
from scipy import special, stats

import ppl
from ppl import distributions as dist
from ppl import handlers, ops

PARALLEL = {"enumerate": "parallel"}
TRANSITION = numpy.array([[0.7, 0.2, 0.1], [0.3, 0.4, 0.3], [0.1, 0.25, 0.65]])
MEANS = numpy.array([-1.0, 0.5, 2.0])
DATA = numpy.array([0.3, -0.8, 1.9, 0.4, 2.2])


def host(value):
    return ops.to_numpy(ops.array(value))


def traced(model, first_available_dim, *args):
    trace = handlers.trace(handlers.enum(model, first_available_dim=first_available_dim)).get_trace(*args)
    trace.compute_log_prob()
    return trace


def enumerated_dims(trace):
    return {n: node["infer"]["_enumerate_dim"] for n, node in trace.nodes.items() if "_enumerate_dim" in node.get("infer", {})}


def factors(trace):
    """The log density of each site, its enumerated dimensions named by the sites that run along them."""
    found = []
    for node in trace.nodes.values():
        if node["type"] == "sample":
            array = host(node["log_prob"])
            names = [node["infer"]["_dim_to_id"].get(d - array.ndim) for d in range(array.ndim)]
            found.append((array, [name if size > 1 else None for name, size in zip(names, array.shape, strict=True)]))
    return found


def log_evidence(trace):
    """The log of the sum over the enumerated sites of one long table of all of them; plates must have been summed."""
    sites = list(enumerated_dims(trace))
    total = numpy.zeros((1,) * len(sites))
    for array, names in factors(trace):
        kept = [name for name in names if name is not None]
        array = array.reshape([size for size, name in zip(array.shape, names, strict=True) if name is not None])
        order = sorted(range(len(kept)), key=lambda axis, kept=kept: sites.index(kept[axis]))
        shape = [array.shape[kept.index(name)] if name in kept else 1 for name in sites]
        total = total + numpy.transpose(array, order).reshape(shape)
    return special.logsumexp(total)


def hmm(data, history=1, markov=None):
    """A chain of order ``history`` with three states; a state's law is the mean of the rows of the states before it."""
    rows, states = ops.array(TRANSITION), []
    for t in (markov or functools.partial(ppl.markov, history=history))(range(len(data))):
        seen = states[-history:]
        probs = sum((rows[state] for state in seen), 0.0) / len(seen) if seen else rows[0]
        states.append(ppl.sample(f"x{t}", dist.Categorical(probs), infer=PARALLEL))
        ppl.sample(f"y{t}", dist.Normal(ops.array(MEANS)[states[-1]], 1.0), obs=ops.array(data[t]))


def hmm_by_hand(data, history):
    total = []
    for states in itertools.product(range(3), repeat=len(data)):
        log_prob = 0.0
        for t, state in enumerate(states):
            seen = states[max(t - history, 0) : t]
            probs = TRANSITION[list(seen)].mean(axis=0) if seen else TRANSITION[0]
            log_prob += math.log(probs[state]) + stats.norm.logpdf(data[t], MEANS[state], 1.0)
        total.append(log_prob)
    return special.logsumexp(total)
