"""The bound with discrete sites summed out: against joint assignments one by one, closed forms and standard errors."""

import itertools
import math

import numpy
import pytest
from scipy import special, stats

import ppl
from ppl import distributions as dist
from ppl import handlers, infer, ops
from ppl.errors import InferenceError, PplError, PplWarning
from ppl.infer import TraceEnum_ELBO, config_enumerate

PARALLEL = {"enumerate": "parallel"}
SEQUENTIAL = {"enumerate": "sequential"}
TABLE = numpy.array([[[0.9, 0.1], [0.7, 0.3]], [[0.4, 0.6], [0.05, 0.95]]])
TRANSITION = numpy.array([[0.7, 0.2, 0.1], [0.3, 0.4, 0.3], [0.1, 0.25, 0.65]])
LOCS = numpy.array([-1.0, 0.5, 2.0])


def host(value):
    return ops.to_numpy(ops.array(value))


def table(values):
    return ops.array(numpy.asarray(values, dtype=float))


def no_guide(*args):
    pass


def close(backend):
    return 1e-9 if host(ops.ones(())).dtype == numpy.float64 else 3e-6


def mixture():
    probs = ops.array(numpy.array([0.2, 0.5, 0.3]))
    with ppl.plate("rows", 3):
        x = ppl.sample("x", dist.Categorical(probs), infer=PARALLEL)
        ppl.sample("y", dist.Normal(table(LOCS)[x], 1.0), obs=table([0.3, -0.8, 1.9]))


def nested():
    top = ppl.sample("top", dist.Bernoulli(0.3), infer=PARALLEL)
    with ppl.plate("outer", 2, dim=-2):
        middle = ppl.sample("middle", dist.Bernoulli(0.2 + 0.5 * top), infer=PARALLEL)
        with ppl.plate("inner", 2, dim=-1):
            leaf = ppl.sample("leaf", dist.Bernoulli(0.1 + 0.3 * middle + 0.2 * top), infer=PARALLEL)
            ppl.sample("seen", dist.Normal(leaf - middle, 1.0), obs=table([[0.1, 1.2], [-0.4, 0.6]]))


def chain():
    state = 0
    for t in ppl.markov(range(4)):
        state = ppl.sample(f"x{t}", dist.Categorical(table(TRANSITION)[state]), infer=PARALLEL)
        ppl.sample(f"y{t}", dist.Normal(table(LOCS)[state], 1.0), obs=ops.array(0.4 * t))


def silenced():
    keep = ops.array(numpy.array([True, False, True]))
    with ppl.plate("rows", 3), handlers.mask(mask=keep):
        x = ppl.sample("x", dist.Bernoulli(0.3), infer=PARALLEL)
        ppl.sample("y", dist.Normal(x, 1.0), obs=table([0.3, -0.8, 1.9]))
    last = ppl.sample("last", dist.Bernoulli(0.6), infer=PARALLEL)
    with handlers.mask(mask=ops.astype(last, "bool")):
        ppl.sample("z", dist.Normal(2.0 * last, 1.0), obs=0.3)


def two_parts():
    a = ppl.sample("a", dist.Bernoulli(0.3), infer=PARALLEL)
    b = ppl.sample("b", dist.OneHotCategorical(table([0.2, 0.5, 0.3])), infer=PARALLEL)
    c = ppl.sample("c", dist.Binomial(2, 0.4), infer=PARALLEL)
    ppl.sample("y", dist.Normal(a + ops.sum(b * table(LOCS), axis=-1), 1.0), obs=0.3)
    ppl.sample("z", dist.Normal(c, 1.0), obs=0.3)
    ppl.factor("w", 0.5 * c * a)


def normal(seen, loc):
    return stats.norm.logpdf(seen, loc)


def coin(value, prob):
    return stats.bernoulli.logpmf(value, prob)


def each(*sizes):
    return itertools.product(*map(range, sizes))


def mixture_by_hand():
    return {
        (("x", values),): sum(
            math.log([0.2, 0.5, 0.3][v]) + normal(seen, LOCS[v]) for v, seen in zip(values, (0.3, -0.8, 1.9), strict=True)
        )
        for values in each(3, 3, 3)
    }


def nested_by_hand():
    joint, seen = {}, ((0.1, 1.2), (-0.4, 0.6))
    for top, *rest in each(*[2] * 7):
        middles, leaves = rest[:2], (rest[2:4], rest[4:])
        total = coin(top, 0.3)
        for middle, row, values in zip(middles, leaves, seen, strict=True):
            total += coin(middle, 0.2 + 0.5 * top)
            for leaf, value in zip(row, values, strict=True):
                total += coin(leaf, 0.1 + 0.3 * middle + 0.2 * top) + normal(value, leaf - middle)
        joint[("top", (top,)), ("middle", tuple(middles)), ("leaf", tuple(rest[2:]))] = total
    return joint


def chain_by_hand():
    joint = {}
    for states in each(3, 3, 3, 3):
        steps = zip((0, *states), states, strict=False)
        total = sum(math.log(TRANSITION[a][b]) + normal(0.4 * t, LOCS[b]) for t, (a, b) in enumerate(steps))
        joint[tuple((f"x{t}", (state,)) for t, state in enumerate(states))] = total
    return joint


def silenced_by_hand():
    """What is masked counts one, whatever its value: the second row, and the last observation where its state is zero."""
    joint = {}
    for a, b, c, last in each(2, 2, 2, 2):
        total = coin(a, 0.3) + normal(0.3, a) + coin(c, 0.3) + normal(1.9, c) + coin(last, 0.6)
        joint[("x", (a, b, c)), ("last", (last,))] = total + (normal(0.3, 2.0) if last else 0.0)
    return joint


MODELS = {mixture: mixture_by_hand, nested: nested_by_hand, chain: chain_by_hand, silenced: silenced_by_hand}


def evidence_by_hand(model):
    return special.logsumexp(list(MODELS[model]().values()))


@pytest.mark.parametrize("model", MODELS)
def test_evidence_and_marginals_are_those_of_all_joint_assignments(backend, model):
    joint = MODELS[model]()
    elbo = TraceEnum_ELBO()
    assert elbo.loss(model, no_guide) == pytest.approx(-special.logsumexp(list(joint.values())), rel=close(backend))
    posterior = special.softmax(list(joint.values()))
    for name, marginal in elbo.compute_marginals(model, no_guide).items():
        probs = host(marginal.probs)
        probs = probs if isinstance(marginal, dist.Categorical) else numpy.stack([1.0 - probs, probs], axis=-1)
        expected = numpy.zeros_like(probs).reshape((-1, probs.shape[-1]))
        for p, assignment in zip(posterior, joint, strict=True):
            for element, value in enumerate(dict(assignment)[name]):
                expected[element, value] += p
        assert probs.reshape(expected.shape) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_one_hot_and_counts_that_hang_together(backend):
    total = []
    for a, b, c in itertools.product(range(2), range(3), range(3)):
        prior = stats.bernoulli.logpmf(a, 0.3) + math.log([0.2, 0.5, 0.3][b]) + stats.binom.logpmf(c, 2, 0.4)
        total.append(prior + stats.norm.logpdf(0.3, a + LOCS[b]) + stats.norm.logpdf(0.3, c) + 0.5 * c * a)
    elbo = TraceEnum_ELBO(max_plate_nesting=0)
    assert elbo.loss(two_parts, no_guide) == pytest.approx(-special.logsumexp(total), rel=close(backend))
    marginals = elbo.compute_marginals(two_parts, no_guide)
    joint = special.softmax(total).reshape(2, 3, 3)
    assert host(marginals["b"].probs) == pytest.approx(joint.sum((0, 2)), rel=1e-5)
    assert host(ops.exp(marginals["c"].log_weights)) == pytest.approx(joint.sum((0, 1)), rel=1e-5)


def test_the_order_of_a_chain_matters(backend):
    """Negative control: a chain whose steps are read the wrong way round has another evidence."""

    def turned():
        state = 0
        for t in ppl.markov(range(4)):
            state = ppl.sample(f"x{t}", dist.Categorical(table(TRANSITION.T / TRANSITION.sum(0)[:, None])[state]), infer=PARALLEL)
            ppl.sample(f"y{t}", dist.Normal(table(LOCS)[state], 1.0), obs=ops.array(0.4 * t))

    exact = -evidence_by_hand(chain)
    assert abs(TraceEnum_ELBO().loss(turned, no_guide) - exact) > 1e-2


@pytest.mark.parametrize("read", ["P[rain, 1]", "P[rain][..., 1, :]"])
def test_rain(backend, read):
    def model():
        P = table(TABLE)
        rain = ppl.sample("rain", dist.Categorical(table([0.8, 0.2])), infer=PARALLEL)
        probs = P[rain, 1] if read == "P[rain, 1]" else P[rain][..., 1, :]
        ppl.sample("wet", dist.Categorical(probs), obs=ops.array(1))

    elbo = TraceEnum_ELBO()
    assert elbo.loss(model, no_guide) == pytest.approx(-math.log(0.43), rel=close(backend))
    assert host(elbo.compute_marginals(model, no_guide)["rain"].probs)[1] == pytest.approx(0.19 / 0.43, rel=1e-6)


def test_a_table_read_at_the_wrong_axis_is_refused(backend):
    def model():
        rain = ppl.sample("rain", dist.Categorical(table([0.8, 0.2])), infer=PARALLEL)
        ppl.sample("wet", dist.Categorical(table(TABLE)[rain][1]), obs=ops.array(1))

    with pytest.raises(PplError, match="wet"):
        TraceEnum_ELBO().loss(model, no_guide)


@pytest.mark.parametrize("infer_mark", [PARALLEL, SEQUENTIAL], ids=["parallel", "sequential"])
def test_a_binomial_of_the_guide(backend, infer_mark):
    """The bound is that of the formula, and its gradient vanishes at the posterior, sigmoid(1/2) = 0.6225."""

    def model():
        y = ppl.sample("y", dist.Binomial(1, 0.5))
        ppl.sample("x", dist.Normal(y, 1.0), obs=1.0)

    def guide():
        ppl.sample("y", dist.Binomial(1, ppl.param("q", q, constraint=dist.constraints.unit_interval)), infer=infer_mark)

    for q in (0.3, special.expit(0.5)):
        ppl.clear_param_store()
        elbo = TraceEnum_ELBO()
        terms = [math.log(0.5) + stats.norm.logpdf(1.0, y) - stats.bernoulli.logpmf(y, q) for y in range(2)]
        assert elbo.loss_and_grads(model, guide) == pytest.approx(-(1 - q) * terms[0] - q * terms[1], rel=1e-5)
        gradient = host(elbo.gradients["q"])
        assert gradient == pytest.approx(-q * (1 - q) * (terms[1] - terms[0]), rel=1e-4, abs=1e-6)
    assert q == pytest.approx(0.6225, abs=1e-4)


def logistic(x):
    return 1.0 / (1.0 + numpy.exp(-x))


# Of the hierarchy below: of the top, of the rows given the top, of the model's own given the row.
Q_TOP, Q_ROWS = 0.4, numpy.array([0.3, -0.8])
OBSERVED = numpy.array([0.3, -0.8, 1.9])
SCALE = 3.0


def hierarchy_bound(q_top, q_rows, scale):
    """The bound of the hierarchy, by loops; q_top and q_rows are logits."""
    total = 0.0
    for top in range(2):
        q = logistic(q_top) if top else 1.0 - logistic(q_top)
        inner = stats.bernoulli.logpmf(top, 0.3) - math.log(q)
        for seen in OBSERVED:
            for row in range(2):
                r = logistic(q_rows[top]) if row else 1.0 - logistic(q_rows[top])
                own = [stats.bernoulli.logpmf(m, 0.2 + 0.6 * row) + stats.norm.logpdf(seen, m - row) for m in range(2)]
                prior = stats.bernoulli.logpmf(row, 0.25 + 0.5 * top)
                inner += scale * r * (prior - math.log(r) + special.logsumexp(own))
        total += q * inner
    return total


def hierarchy_pair(top_mark, row_mark, full_size):
    def rows():
        return ppl.plate("rows", full_size, subsample=ops.array(numpy.arange(3)))

    def model():
        top = ppl.sample("top", dist.Bernoulli(0.3))
        with rows():
            row = ppl.sample("row", dist.Bernoulli(0.25 + 0.5 * top))
            own = ppl.sample("own", dist.Bernoulli(0.2 + 0.6 * row), infer=PARALLEL)
            ppl.sample("seen", dist.Normal(own - row, 1.0), obs=table(OBSERVED))

    def guide():
        top = ppl.sample("top", dist.Bernoulli(logits=ppl.param("q_top", ops.array(Q_TOP))), infer=top_mark)
        logits = ppl.param("q_rows", table(Q_ROWS))
        with rows():
            ppl.sample("row", dist.Bernoulli(logits=logits[ops.astype(top, "int64")]), infer=row_mark)

    return model, guide


def slope(fn, x, step=1e-5):
    return (fn(x + step) - fn(x - step)) / (2.0 * step)


@pytest.mark.parametrize(
    "marks", [(PARALLEL, PARALLEL), (SEQUENTIAL, SEQUENTIAL), (SEQUENTIAL, PARALLEL)], ids=["pp", "ss", "sp"]
)
@pytest.mark.parametrize("full_size", [3, 9])
def test_a_hierarchy_enumerated_in_model_and_guide(backend, marks, full_size):
    model, guide = hierarchy_pair(*marks, full_size)
    elbo, scale = TraceEnum_ELBO(), full_size / 3.0
    assert elbo.loss_and_grads(model, guide) == pytest.approx(-hierarchy_bound(Q_TOP, Q_ROWS, scale), rel=2e-6)
    top = slope(lambda x: hierarchy_bound(x, Q_ROWS, scale), Q_TOP)
    rows = [slope(lambda x, unit=unit: hierarchy_bound(Q_TOP, Q_ROWS + x * unit, scale), 0.0) for unit in numpy.eye(2)]
    assert host(elbo.gradients["q_top"]) == pytest.approx(-top, rel=1e-4)
    assert host(elbo.gradients["q_rows"]) == pytest.approx(-numpy.array(rows), rel=1e-4)


def two_way_bound(q):
    """Values and probabilities of the bound for u = 0, 1, where the model sums out m."""
    p = numpy.array([1.0 - q, q])
    f = [
        stats.bernoulli.logpmf(u, 0.3)
        - math.log(p[u])
        + special.logsumexp([stats.bernoulli.logpmf(m, 0.2 + 0.6 * u) + stats.norm.logpdf(0.7, m + u) for m in range(2)])
        for u in range(2)
    ]
    return p, numpy.array(f)


def two_way_pair(mark):
    def model():
        u = ppl.sample("u", dist.Bernoulli(0.3))
        m = ppl.sample("m", dist.Bernoulli(0.2 + 0.6 * u), infer=PARALLEL)
        ppl.sample("y", dist.Normal(m + u, 1.0), obs=0.7)

    def guide():
        ppl.sample("u", dist.Bernoulli(logits=ppl.param("q", 0.4)), infer=mark)

    return model, guide


@pytest.mark.parametrize("kind", ["draws", pytest.param("particles", marks=pytest.mark.nightly), "stacked"])
def test_draws_of_the_guide_are_unbiased(backend, kind):
    """Within five standard errors of the sum over the values, and five of another bound's are not."""
    count = 400 if kind == "particles" else 4000
    model, guide = two_way_pair({**PARALLEL, "num_samples": count} if kind == "draws" else {})
    elbo = TraceEnum_ELBO(max_plate_nesting=0)
    if kind != "draws":
        elbo = TraceEnum_ELBO(num_particles=count, vectorize_particles=kind == "stacked", max_plate_nesting=0)
        count = elbo.num_particles
    ppl.set_rng_seed(4)
    loss = elbo.loss_and_grads(model, guide)
    p, f = two_way_bound(logistic(0.4))
    score = numpy.array([-p[1], p[0]]) * f
    gradient = float(host(elbo.gradients["q"]))
    for found, terms in ((-loss, f), (-gradient, score)):
        mean = float(p @ terms)
        error = math.sqrt(float(p @ (terms - mean) ** 2) / count)
        assert abs(found - mean) < 5.0 * error
        assert abs(found - (mean + 0.5 * math.sqrt(float(p @ (terms - mean) ** 2)))) > 5.0 * error


def test_pathwise_draws_along_a_dimension(backend):
    """Normal draws of the guide: value and gradient of a quadratic, whose moments are known."""
    count = 4000

    def model():
        z = ppl.sample("z", dist.Normal(0.0, 1.0))
        m = ppl.sample("m", dist.Bernoulli(0.4), infer=PARALLEL)
        ppl.sample("y", dist.Normal(z, 1.0).mask(m == 0), obs=0.5)

    @config_enumerate(num_samples=count)
    def guide():
        ppl.sample("z", dist.Normal(ppl.param("loc", 0.3), 0.8))

    ppl.set_rng_seed(7)
    elbo = TraceEnum_ELBO(max_plate_nesting=0)
    loss = elbo.loss_and_grads(model, guide)
    draws, weights = numpy.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()
    z = 0.3 + 0.8 * draws
    seen = numpy.exp(stats.norm.logpdf(0.5, z))
    f = stats.norm.logpdf(z) - stats.norm.logpdf(z, 0.3, 0.8) + numpy.log(0.4 + 0.6 * seen)
    # The density of the guide at its own draw does not move with its location.
    g = -z + 0.6 * seen * (0.5 - z) / (0.4 + 0.6 * seen)
    for found, terms in ((-loss, f), (-float(host(elbo.gradients["loc"])), g)):
        mean = float(weights @ terms)
        spread = math.sqrt(float(weights @ (terms - mean) ** 2))
        assert abs(found - mean) < 5.0 * spread / math.sqrt(count)
        assert abs(found - mean - 0.5 * spread) > 5.0 * spread / math.sqrt(count)


@pytest.mark.parametrize("stacked", [False, True], ids=["loop", "stacked"])
@pytest.mark.parametrize("model", [mixture, chain])
def test_particles_average_to_the_same(backend, model, stacked):
    exact = -evidence_by_hand(model)
    elbo = TraceEnum_ELBO(num_particles=3, vectorize_particles=stacked)
    assert elbo.loss(model, no_guide) == pytest.approx(exact, rel=close(backend))
    assert elbo.max_plate_nesting == (1 if model is mixture else 0)


def test_minibatches_count_for_their_plate(backend):
    """Outside of the sum over what is inside of the plate, inside of the sum over what is outside."""

    def model(size):
        top = ppl.sample("top", dist.Bernoulli(0.3), infer=PARALLEL)
        with ppl.plate("rows", size, subsample=ops.array(numpy.arange(1))):
            row = ppl.sample("row", dist.Bernoulli(0.2 + 0.5 * top), infer=PARALLEL)
            ppl.sample("y", dist.Normal(row - top, 1.0), obs=table([0.4]))

    for size in (1, 7):
        total = []
        for top in range(2):
            inner = [stats.bernoulli.logpmf(r, 0.2 + 0.5 * top) + stats.norm.logpdf(0.4, r - top) for r in range(2)]
            total.append(stats.bernoulli.logpmf(top, 0.3) + size * special.logsumexp(inner))
        loss = TraceEnum_ELBO().loss(model, no_guide_of_size, size)
        assert loss == pytest.approx(-special.logsumexp(total), rel=close(backend))


def no_guide_of_size(size):
    pass


def test_marginals_given_a_minibatch_are_those_of_the_plate_that_it_stands_for(backend):
    """Every joint value of the three sites, each element counted for the two and a half that it stands for."""
    seen, scale = numpy.array([0.1, 1.4]), 2.5

    def model():
        x = ppl.sample("x", dist.Bernoulli(0.3), infer=PARALLEL)
        with ppl.plate("rows", 5, subsample_size=2):
            z = ppl.sample("z", dist.Bernoulli(0.2 + 0.5 * x), infer=PARALLEL)
            ppl.sample("y", dist.Normal(z, 1.0), obs=table(seen))

    inner = numpy.exp(
        [[[coin(z, 0.2 + 0.5 * x) + normal(y, z) for z in range(2)] for y in seen] for x in range(2)]
    )  # By x, row and z.
    outer = numpy.array([0.7, 0.3]) * (inner.sum(axis=2) ** scale).prod(axis=1)
    outer = outer / outer.sum()
    rows = numpy.einsum("x,xrz->rz", outer, inner / inner.sum(axis=2, keepdims=True))
    found = TraceEnum_ELBO().compute_marginals(model, no_guide)
    assert float(ops.to_numpy(found["x"].probs)) == pytest.approx(outer[1], rel=1e-6)
    numpy.testing.assert_allclose(ops.to_numpy(found["z"].probs), rows[:, 1], rtol=1e-6)
    # As if the minibatch were all there is.
    whole = numpy.array([0.7, 0.3]) * inner.sum(axis=2).prod(axis=1)
    assert abs(whole[1] / whole.sum() - outer[1]) > 0.02


def test_one_scale_is_outside_of_the_sum(backend):
    def model(first, second):
        with handlers.scale(scale=first):
            a = ppl.sample("a", dist.Bernoulli(0.3), infer=PARALLEL)
        with handlers.scale(scale=second):
            ppl.sample("y", dist.Normal(a, 1.0), obs=0.4)
        b = ppl.sample("b", dist.Bernoulli(0.6), infer=PARALLEL)
        ppl.sample("z", dist.Normal(b, 1.0), obs=0.1)

    def evidence(p, seen):
        return special.logsumexp([stats.bernoulli.logpmf(v, p) + stats.norm.logpdf(seen, v) for v in range(2)])

    guide = lambda first, second: None  # noqa: E731
    expected = -(2.5 * evidence(0.3, 0.4) + evidence(0.6, 0.1))
    assert TraceEnum_ELBO().loss(model, guide, 2.5, 2.5) == pytest.approx(expected, rel=close(backend))
    with pytest.raises(InferenceError, match=r"sites 'a' and 'y' hang together.*2.5 and 1.5"):
        TraceEnum_ELBO().loss(model, guide, 2.5, 1.5)


@pytest.mark.parametrize("mark", [PARALLEL, SEQUENTIAL], ids=["parallel", "sequential"])
def test_masks_and_arrays_of_scales_in_model_and_guide(backend, mark):
    """A mask silences terms, not the guide's choice of values; a scale for each row multiplies the sum of that row."""
    keep, scales = numpy.array([True, False, True]), numpy.array([1.0, 2.0, 3.0])

    def model():
        with ppl.plate("rows", 3):
            with handlers.mask(mask=ops.array(keep)):
                x = ppl.sample("x", dist.Bernoulli(0.3))
                ppl.sample("y", dist.Normal(x, 1.0), obs=table(OBSERVED))
            with handlers.scale(scale=table(scales)):
                own = ppl.sample("own", dist.Bernoulli(0.2 + 0.5 * x), infer=PARALLEL)
                ppl.sample("w", dist.Normal(own + x, 1.0), obs=table(OBSERVED))

    def guide():
        with ppl.plate("rows", 3), handlers.mask(mask=ops.array(keep)):
            ppl.sample("x", dist.Bernoulli(0.6), infer=mark)

    total = 0.0
    for kept, scale, seen in zip(keep, scales, OBSERVED, strict=True):
        for x, q in ((0, 0.4), (1, 0.6)):
            inner = special.logsumexp([coin(own, 0.2 + 0.5 * x) + normal(seen, own + x) for own in range(2)])
            total += q * (kept * (coin(x, 0.3) + normal(seen, x) - math.log(q)) + scale * inner)
    assert TraceEnum_ELBO().loss(model, guide) == pytest.approx(-total, rel=2e-6)


def test_a_site_that_only_some_values_lead_to(backend):
    """In sequence, each run may have other sites."""
    probs, weights = [0.4, 0.4, 0.2], [0.2, 0.3, 0.5]

    def model():
        loc = 0.0
        if float(ppl.sample("a", dist.Bernoulli(0.3))):
            loc = 1.0 + ppl.sample("b", dist.Categorical(table(probs)))
        ppl.sample("y", dist.Normal(loc, 1.0), obs=0.4)

    def guide():
        if float(ppl.sample("a", dist.Bernoulli(0.6), infer=SEQUENTIAL)):
            ppl.sample("b", dist.Categorical(table(weights)), infer=SEQUENTIAL)

    total = 0.4 * (math.log(0.7 / 0.4) + normal(0.4, 0.0)) + 0.6 * math.log(0.3 / 0.6)
    total += 0.6 * sum(q * (math.log(p / q) + normal(0.4, 1.0 + b)) for b, (p, q) in enumerate(zip(probs, weights, strict=True)))
    assert TraceEnum_ELBO(max_plate_nesting=0).loss(model, guide) == pytest.approx(-total, rel=2e-6)


def test_without_a_mark_it_is_trace_elbo(backend):
    def model():
        z = ppl.sample("z", dist.Normal(0.0, 1.0))
        b = ppl.sample("b", dist.Bernoulli(0.3))
        ppl.sample("y", dist.Normal(z + b, 1.0), obs=0.5)

    def guide():
        ppl.sample("b", dist.Bernoulli(ppl.param("p", 0.4)))
        ppl.sample("z", dist.Normal(ppl.param("loc", 0.2), 0.8))

    results = []
    for elbo in (infer.Trace_ELBO(), TraceEnum_ELBO(strict_enumeration_warning=False, max_plate_nesting=0)):
        ppl.set_rng_seed(11)
        ppl.clear_param_store()
        loss = elbo.loss_and_grads(model, guide)
        results.append([loss, *(float(host(elbo.gradients[name])) for name in ("p", "loc"))])
    assert results[0] == pytest.approx(results[1], rel=1e-6)
    with pytest.warns(PplWarning, match="no site to enumerate"):
        TraceEnum_ELBO().loss(model, guide)


def learnt():
    probs = ppl.param("probs", 0.3, constraint=dist.constraints.unit_interval)
    with ppl.plate("rows", 3):
        x = ppl.sample("x", dist.Bernoulli(probs), infer=PARALLEL)
        ppl.sample("y", dist.Normal(3.0 * x, 1.0), obs=table(OBSERVED))


def learnt_steps(rate, count):
    """Gradient descent on the logit by hand."""
    ones, zeros = stats.norm.pdf(OBSERVED, 3.0), stats.norm.pdf(OBSERVED, 0.0)
    logit, losses = special.logit(0.3), []
    for _ in range(count):
        p = special.expit(logit)
        mixed = p * ones + (1.0 - p) * zeros
        losses.append(-numpy.log(mixed).sum())
        logit += rate * ((ones - zeros) / mixed).sum() * p * (1.0 - p)
    return numpy.array(losses), special.expit(logit)


@pytest.mark.parametrize("loss", [infer.TraceEnum_ELBO, pytest.param(infer.JitTraceEnum_ELBO, marks=pytest.mark.nightly)])
def test_steps_are_those_of_gradient_descent(backend, loss):
    svi = infer.SVI(learnt, no_guide, ppl.optim.SGD({"lr": 0.2}), loss())
    fit = svi.run(4, progress_bar=False)
    losses, probs = learnt_steps(0.2, 4)
    assert numpy.asarray(fit.losses) == pytest.approx(losses, rel=1e-5)
    assert host(fit.params["probs"]) == pytest.approx(probs, rel=1e-5)


def test_each_way_to_ask_for_the_loss(backend):
    expected = learnt_steps(0.2, 1)[0][0]
    for elbo in (infer.TraceEnum_ELBO(), infer.JitTraceEnum_ELBO()):
        ppl.clear_param_store()
        assert elbo.loss(learnt, no_guide) == pytest.approx(expected, rel=1e-5)
        assert float(host(elbo.differentiable_loss(learnt, no_guide))) == pytest.approx(expected, rel=1e-5)
        assert elbo.loss_and_grads(learnt, no_guide) == pytest.approx(expected, rel=1e-5)
        step = special.logit(learnt_steps(0.2, 1)[1]) - special.logit(0.3)
        assert float(host(elbo.gradients["probs"])) == pytest.approx(-step / 0.2, rel=1e-4)


def test_posterior_draws_have_the_joint_frequencies(backend):
    """A chain of two steps, many independent copies in a plate: frequencies of pairs within five standard errors."""
    count = 3000

    def model():
        with ppl.plate("copies", count):
            first = ppl.sample("first", dist.Bernoulli(0.3), infer=PARALLEL)
            second = ppl.sample("second", dist.Bernoulli(0.2 + 0.6 * first), infer=PARALLEL)
            ppl.sample("y", dist.Normal(first + second, 1.0), obs=1.2 * ops.ones((count,)))
        return first, second

    ppl.set_rng_seed(3)
    first, second = (host(value) for value in TraceEnum_ELBO().sample_posterior(model, no_guide))
    assert first.shape == second.shape == (count,)
    pairs = list(itertools.product(range(2), repeat=2))
    terms = [
        stats.bernoulli.logpmf(a, 0.3) + stats.bernoulli.logpmf(b, 0.2 + 0.6 * a) + stats.norm.logpdf(1.2, a + b)
        for a, b in pairs
    ]
    for (a, b), p in zip(pairs, special.softmax(terms), strict=True):
        found = float(numpy.mean((first == a) & (second == b)))
        assert abs(found - p) < 5.0 * math.sqrt(p * (1.0 - p) / count)
        assert abs(found - (p + 0.1)) > 5.0 * math.sqrt(p * (1.0 - p) / count)
