"""The leapfrog goes back the way it came, and the iterative no-U-turn tree is the recursive one of its publications."""

import numpy
import pytest

from ppl import infer, ops
from ppl.infer.mcmc.integrators import Phase, leapfrog
from ppl.infer.mcmc.metrics import Dense, Diagonal
from ppl.infer.mcmc.state import ChainState, Tuning
from ppl.ops import random
from ppl.testing import assert_close, to_host

DIMENSION = 3
# The precision of a correlated normal, and the quartic walls that make the target no normal.
PRECISION = numpy.array([[2.0, 0.9, 0.0], [0.9, 1.0, -0.3], [0.0, -0.3, 4.0]])
WALLS = 0.05
INVERSE_MASSES = {
    "diagonal": numpy.array([0.7, 1.3, 0.4]),
    "dense": numpy.array([[0.9, -0.5, 0.1], [-0.5, 1.4, 0.0], [0.1, 0.0, 0.3]]),
}
# At most 63 leapfrog steps, so that both a turn and the limit end trajectories.
MAX_TREE_DEPTH = 6
EVERYWHERE = {"within", "between"}


def potential(position):
    """Return energy and gradient of one point, host array ``(D,)``."""
    energy = 0.5 * position @ PRECISION @ position + WALLS * numpy.sum(position**4)
    return energy, PRECISION @ position + 4 * WALLS * position**3


def energy_and_gradient(position, data):
    """Return the same for chains, by array functions of the backend."""
    product = ops.matmul(position, ops.array(PRECISION))
    energy = 0.5 * ops.sum(position * product, axis=1) + WALLS * ops.sum(position**4, axis=1)
    return energy, product + 4 * WALLS * position**3


def metric_of(name):
    metric = Dense() if name == "dense" else Diagonal()
    return metric, metric.from_inverse(ops.array(INVERSE_MASSES[name]))


@pytest.mark.parametrize("name", INVERSE_MASSES)
def test_leapfrog_is_reversible(backend, rng, name):
    metric, mass = metric_of(name)
    position, momentum = (ops.array(rng.normal(size=(5, DIMENSION))) for _ in range(2))
    energy, gradient = energy_and_gradient(position, [])
    phase = Phase(position, momentum, energy, gradient)
    for step in (0.1, -0.1):
        for _ in range(50):
            phase = leapfrog(energy_and_gradient, metric, phase, step, mass, [])
        if step > 0:
            assert numpy.max(numpy.abs(to_host(phase.position) - to_host(position))) > 0.1
    assert_close(phase.position, to_host(position), atol=1e-10)
    assert_close(phase.momentum, to_host(momentum), atol=1e-10)
    assert_close(phase.potential_energy, to_host(energy), atol=1e-10)


@pytest.mark.parametrize("name", INVERSE_MASSES)
def test_leapfrog_keeps_volume(backend, rng, name):
    """The Jacobian of a step, by central differences of all six coordinates, has determinant one."""
    metric, mass = metric_of(name)
    start, width = rng.normal(size=2 * DIMENSION), 1e-5
    rows = start + width * numpy.concatenate([numpy.eye(6), -numpy.eye(6)])
    position, momentum = ops.array(rows[:, :DIMENSION]), ops.array(rows[:, DIMENSION:])
    phase = leapfrog(energy_and_gradient, metric, Phase(position, momentum, *energy_and_gradient(position, [])), 0.3, mass, [])
    ends = numpy.concatenate([to_host(phase.position), to_host(phase.momentum)], axis=1)
    jacobian = (ends[:6] - ends[6:]) / (2 * width)
    assert numpy.linalg.det(jacobian) == pytest.approx(1.0, abs=1e-8)


# ---- the recursive tree ----


class Trajectory:
    """One no-U-turn transition of one chain, built by recursion.

    The tree doubles forwards or backwards (Hoffman and Gelman 2014, alg. 3), states are chosen by their weights, uniformly within
    a doubling and biased to the newer half between doublings, and a span turns where an end's velocity points against its summed
    momenta (Betancourt 2017, app. A.3 and A.4), the ends counted half. Where two halves meet three spans must not turn: the
    whole, the first half with the first leaf of the second, the second with the last leaf of the first (Stan, since 2019).

    :param forward: which way each doubling goes.
    :param leaf_log_uniforms: for each leaf in the order of the doublings.
    :param doubling_log_uniforms: for the end of each doubling.
    :param log_slice: logarithm of the share of the initial density that a state must have to count, and then all count alike
        (Hoffman and Gelman 2014, sec. 3.1); ``None``: states weigh as their density.
    :param across: where the two shorter spans are asked about: ``"within"`` doublings, ``"between"`` old and new half.
    """

    def __init__(
        self, position, momentum, inverse_mass, step_size, forward, leaf_log_uniforms, doubling_log_uniforms, log_slice,
        across=EVERYWHERE,
    ):  # fmt: skip
        self.across = across
        self.inverse_mass = numpy.diag(inverse_mass) if inverse_mass.ndim == 1 else inverse_mass
        self.step_size = step_size
        self.initial_energy = potential(position)[0] + self.kinetic(momentum)
        self.num_leaves, self.sum_accept, self.divergent = 0, 0.0, False
        self.leaf_log_uniforms, self.log_slice = leaf_log_uniforms, log_slice
        ends = {True: (position, momentum), False: (position, momentum)}
        chosen, log_weight, momentum_sum = position, 0.0, momentum
        for depth, onward in enumerate(forward):
            self.first_leaf, self.leaf_in_doubling = 2**depth - 1, 0
            self.proposal, self.proposal_weight = None, -numpy.inf
            built = self.build(ends[onward], depth, 1.0 if onward else -1.0)
            if built is None:
                break
            new_first, new_last, sum_of_new = built
            near, far = ends[onward][1], ends[not onward][1]
            ends[onward] = new_last
            if doubling_log_uniforms[depth] < self.proposal_weight - log_weight:
                chosen = self.proposal
            log_weight = numpy.logaddexp(log_weight, self.proposal_weight)
            spans = [(far, new_first[1], momentum_sum + new_first[1]), (near, new_last[1], near + sum_of_new)]
            momentum_sum = momentum_sum + sum_of_new
            if self.turns(far, new_last[1], momentum_sum) or ("between" in across and any(self.turns(*span) for span in spans)):
                break
        self.position = chosen

    def kinetic(self, momentum):
        return 0.5 * momentum @ self.inverse_mass @ momentum

    def turns(self, first, last, total):
        direction = self.inverse_mass @ (total - 0.5 * (first + last))
        return first @ direction <= 0.0 or last @ direction <= 0.0

    def build(self, start, depth, sign, before=None):
        """Return first and last point and summed momentum of ``2**depth`` leaves after ``start``; ``None`` if they must end.

        :param before: first momentum and summed momenta of the half before: the leaf after it decides one of the spans.
        """
        if depth == 0:
            built = self.leaf(start, sign)
            if built and before and "within" in self.across and self.turns(before[0], built[2], before[1] + built[2]):
                return None
            return built
        near = self.build(start, depth - 1, sign, before)
        far = self.build(near[1], depth - 1, sign, (near[0][1], near[2])) if near else None
        if far is None:
            return None
        total, middle = near[2] + far[2], near[1][1]
        turned = self.turns(near[0][1], far[1][1], total)
        turned = turned or ("within" in self.across and self.turns(middle, far[1][1], middle + far[2]))
        return None if turned else (near[0], far[1], total)

    def leaf(self, start, sign):
        position, momentum = start
        momentum = momentum - 0.5 * sign * self.step_size * potential(position)[1]
        position = position + sign * self.step_size * self.inverse_mass @ momentum
        energy, gradient = potential(position)
        momentum = momentum - 0.5 * sign * self.step_size * gradient
        change = energy + self.kinetic(momentum) - self.initial_energy
        weight = -change
        if self.log_slice is not None:
            weight = 0.0 if self.log_slice <= -change else -numpy.inf
        self.proposal_weight = numpy.logaddexp(self.proposal_weight, weight)
        log_uniform = self.leaf_log_uniforms[self.first_leaf + self.leaf_in_doubling]
        if weight > -numpy.inf and log_uniform < weight - self.proposal_weight:
            self.proposal = position
        self.leaf_in_doubling += 1
        self.num_leaves += 1
        self.sum_accept += min(1.0, numpy.exp(-change))
        self.divergent = change > 1000.0
        return None if self.divergent else ((position, momentum), (position, momentum), momentum)


def randomness(seed, metric, mass, num_chains):
    """Return what a transition with this key draws: momenta, directions, logs of uniforms of leaves, doublings and slice.

    Draws are asked for in the transition's own order, because keys may be generators that remember.
    """
    key_momentum, key_numbers, key_refill = random.split(random.key(seed), 3)
    momentum = metric.draw(key_momentum, mass, (num_chains, DIMENSION))
    uniforms = to_host(random.open_uniform(key_numbers, (2 * MAX_TREE_DEPTH + 18, num_chains)))
    forward, numbers = uniforms[: MAX_TREE_DEPTH + 1] < 0.5, numpy.log(uniforms[MAX_TREE_DEPTH + 1 :])
    blocks = [numbers[MAX_TREE_DEPTH + 1 :]]
    while 16 * len(blocks) < 2**MAX_TREE_DEPTH:
        key_refill, key_block = random.split(key_refill)
        blocks.append(numpy.log(to_host(random.open_uniform(key_block, (16, num_chains)))))
    return to_host(momentum), forward[:-1], numpy.concatenate(blocks), numbers[:MAX_TREE_DEPTH], numbers[MAX_TREE_DEPTH]


@pytest.mark.parametrize(
    ("name", "step_size", "multinomial"),
    [
        ("diagonal", 0.7, True),
        ("dense", 0.4, False),
        pytest.param("diagonal", 0.25, True, marks=pytest.mark.nightly),
        pytest.param("diagonal", 0.03, False, marks=pytest.mark.nightly),
        pytest.param("dense", 1.2, True, marks=pytest.mark.nightly),
        pytest.param("diagonal", 0.9, False, marks=pytest.mark.nightly),
    ],
)
def test_iterative_tree_equals_the_recursive_one(backend, rng, seed, name, step_size, multinomial):
    num_chains = 150
    kernel = infer.NUTS(
        log_density_fn=lambda x: 0.0,
        dimension=DIMENSION,
        full_mass=name == "dense",
        max_tree_depth=MAX_TREE_DEPTH,
        use_multinomial_sampling=multinomial,
    )
    metric, mass = metric_of(name)
    positions = 0.7 * rng.normal(size=(num_chains, DIMENSION))
    start = ChainState(ops.array(positions), *energy_and_gradient(ops.array(positions), []))
    tuning = Tuning(ops.array(step_size), ops.array(step_size))
    after, info = kernel.transition(energy_and_gradient, 0)(random.key(seed), start, tuning, mass, [])

    momenta, forward, leaf_numbers, doubling_numbers, log_slices = randomness(seed, metric, mass, num_chains)

    def recursive(leaf_numbers, across=EVERYWHERE):
        slices = [None] * num_chains if multinomial else log_slices
        chains = zip(positions, momenta, forward.T, leaf_numbers.T, doubling_numbers.T, slices, strict=True)
        return [Trajectory(q, p, INVERSE_MASSES[name], step_size, *numbers, across) for q, p, *numbers in chains]

    trees = recursive(leaf_numbers)
    assert to_host(info.num_leapfrog_steps).tolist() == [tree.num_leaves for tree in trees]
    assert_close(after.position, numpy.stack([tree.position for tree in trees]), rtol=1e-9)
    assert_close(info.accept_prob, numpy.array([tree.sum_accept / tree.num_leaves for tree in trees]), rtol=1e-9)
    assert to_host(info.divergent).tolist() == [bool(tree.divergent) for tree in trees]
    others = recursive(numpy.roll(leaf_numbers, 1, axis=0))
    assert any((tree.position != other.position).any() for tree, other in zip(trees, others, strict=True)), "the control"
    if (name, step_size) == ("diagonal", 0.7):
        others = recursive(leaf_numbers, across=set())
        assert [tree.num_leaves for tree in others] != [tree.num_leaves for tree in trees], "the control of the shorter spans"


def test_a_trajectory_that_comes_round_ends(backend, seed):
    r"""On a standard normal of many dimensions all trajectories turn after half a period, :math:`\pi`.

    The 15 leapfrog steps of four doublings span :math:`6.3 > 2 \pi`, and from end to end no turn is to be seen.
    """
    kernel = infer.NUTS(log_density_fn=lambda x: 0.0, dimension=200, full_mass=False, max_tree_depth=6)
    key_start, key_run = random.split(random.key(seed))
    position = random.normal(key_start, (100, 200))
    start = ChainState(position, 0.5 * ops.sum(position**2, axis=1), position)
    tuning, mass = Tuning(ops.array(0.42), ops.array(0.42)), Diagonal().from_inverse(ops.ones(200))
    transition = kernel.transition(lambda x, data: (0.5 * ops.sum(x**2, axis=1), x), 0)
    _, info = transition(key_run, start, tuning, mass, [])
    assert set(to_host(info.num_leapfrog_steps).tolist()) <= {7, 15}


@pytest.mark.parametrize("left_out", ["within", "between"])
def test_shorter_spans_end_some_trees_of_the_comparison(rng, left_out):
    """The control: the trajectories above would be others without the spans across halves, in doublings or between them."""
    different = 0
    for _ in range(400):
        leaves, doublings = numpy.log(rng.uniform(size=(2, 2**MAX_TREE_DEPTH)))
        forward, start = rng.uniform(size=MAX_TREE_DEPTH) < 0.5, (0.7 * rng.normal(size=3), rng.normal(size=3))
        setting = (INVERSE_MASSES["diagonal"], 0.7, forward, leaves, doublings, None)
        trees = [Trajectory(*start, *setting, across) for across in (EVERYWHERE, EVERYWHERE - {left_out})]
        different += trees[0].num_leaves != trees[1].num_leaves
    assert different >= 3


def test_trees_of_the_comparison_end_for_every_reason(rng):
    """The control: the trajectories above turn at several depths, reach the limit and diverge."""
    sizes, divergences = set(), 0
    for step_size in (0.03, 0.25, 1.2, 3.0):
        for _ in range(20):
            numbers = numpy.log(rng.uniform(size=2**MAX_TREE_DEPTH))
            forward = rng.uniform(size=MAX_TREE_DEPTH) < 0.5
            tree = Trajectory(
                rng.normal(size=3), rng.normal(size=3), INVERSE_MASSES["diagonal"], step_size, forward, numbers, numbers, None
            )
            sizes.add(tree.num_leaves)
            divergences += bool(tree.divergent)
    assert {1, 2**MAX_TREE_DEPTH - 1} <= sizes
    assert len(sizes) > 6
    assert divergences > 0
