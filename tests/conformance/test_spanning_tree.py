"""Random spanning trees. Oracle: all trees of up to five vertices, found by trying every set of edges."""

import mpmath
import numpy as np
import pytest
from cases.continuous import SpanningTrees, brute_force_trees
from scipy import stats

from ppl import distributions as dist
from ppl import ops
from ppl.distributions.spanning_tree import make_complete_graph
from ppl.errors import ConstraintError, GapError, ShapeError
from ppl.testing import assert_close, numerical_gradient, to_host

pytestmark = pytest.mark.strict

INF = np.inf
DRAWS = 10_000


def edge_logits(num_vertices, seed=0):
    return np.random.default_rng(seed).normal(size=num_vertices * (num_vertices - 1) // 2)


def tree_probabilities(logits):
    return np.exp(SpanningTrees(logits).log_probs)


def frequencies(draws, num_vertices):
    """Return how often each tree of the brute-force table was drawn; a draw that is none of them fails."""
    table = {tree: position for position, tree in enumerate(brute_force_trees(num_vertices))}
    seen = [table[tuple(map(tuple, tree))] for tree in to_host(draws).tolist()]
    return np.bincount(seen, minlength=len(table))


# --- the support ---


@pytest.mark.parametrize("num_vertices", [2, 3, 4, 5])
def test_enumeration_is_that_of_brute_force(backend, num_vertices):
    trees = to_host(dist.SpanningTree(edge_logits(num_vertices)).enumerate_support())
    assert trees.shape == (num_vertices ** (num_vertices - 2), num_vertices - 1, 2)
    assert sorted(trees.tolist()) == sorted([list(edge) for edge in tree] for tree in brute_force_trees(num_vertices))


@pytest.mark.parametrize("num_vertices", [6, 7])
def test_enumeration_has_the_size_that_cayley_counted(num_vertices):
    trees = to_host(dist.SpanningTree(edge_logits(num_vertices)).enumerate_support())
    assert len({str(tree) for tree in trees.tolist()}) == num_vertices ** (num_vertices - 2)


def test_enumeration_of_a_batch(backend):
    d = dist.SpanningTree(np.zeros((2, 1, 6)))
    assert tuple(d.enumerate_support().shape) == (16, 2, 1, 3, 2)
    assert tuple(d.enumerate_support(expand=False).shape) == (16, 1, 1, 3, 2)


def test_the_complete_graph_in_colexicographic_order(backend):
    low, high = make_complete_graph(4)
    assert to_host(low).tolist() == [0, 0, 1, 0, 1, 2]
    assert to_host(high).tolist() == [1, 2, 2, 3, 3, 3]


# --- densities ---


@pytest.mark.parametrize("num_vertices", [2, 5])
def test_partition_function_and_probabilities(backend, num_vertices):
    logits = edge_logits(num_vertices)
    oracle = SpanningTrees(logits)
    d = dist.SpanningTree(logits)
    assert d.num_vertices == num_vertices
    ranks = oracle.trees[..., 0] + oracle.trees[..., 1] * (oracle.trees[..., 1] - 1) // 2
    assert_close(d.log_partition_function, np.log(np.exp(logits[ranks].sum(-1)).sum()))
    assert_close(d.log_prob(oracle.trees), oracle.log_probs)
    assert_close(d.entropy(), oracle.entropy())


def test_number_of_trees_of_a_large_graph(backend):
    """Cayley 1889: the complete graph on V vertices has V ** (V - 2) trees."""
    assert_close(dist.SpanningTree(np.zeros(20 * 19 // 2)).log_partition_function, 18 * np.log(20.0))


def test_partition_function_by_the_matrix_tree_theorem(backend):
    """The determinant of the reduced Laplacian in 60 digits, for weights over a hundred orders of magnitude."""
    n = 12
    logits = 50.0 * edge_logits(n)
    with mpmath.workdps(60):
        laplacian = mpmath.zeros(n, n)
        edges = [(low, high) for high in range(n) for low in range(high)]
        for rank, (i, j) in enumerate(edges):
            weight = mpmath.exp(float(logits[rank]))
            laplacian[i, j] -= weight
            laplacian[j, i] -= weight
            laplacian[i, i] += weight
            laplacian[j, j] += weight
        expected = float(mpmath.log(mpmath.det(laplacian[1:, 1:])))
    assert_close(dist.SpanningTree(logits).log_partition_function, expected)


def test_gradients_are_the_probabilities_of_edges(backend):
    logits = edge_logits(4)
    oracle = SpanningTrees(logits)
    uses = (oracle.trees[:, :, None] == np.array([[0, 1], [0, 2], [1, 2], [0, 3], [1, 3], [2, 3]])).all(-1).any(1)
    gradient = ops.autodiff.grad(lambda p: dist.SpanningTree(p).log_partition_function)(ops.array(logits))
    assert_close(gradient, np.exp(oracle.log_probs) @ uses)
    gradient = ops.autodiff.grad(lambda p: dist.SpanningTree(p).entropy())(ops.array(logits))
    assert_close(gradient, numerical_gradient(lambda p: dist.SpanningTree(p).entropy(), logits), "finite_difference")


def test_extreme_logits_have_finite_values_and_gradients(backend):
    logits = np.array([1e6, -1e6, 0.0, 1e-6, -1e4, 1e5])
    d = dist.SpanningTree(logits)
    # The heaviest trees by far have edges (0, 1), (2, 3) and either (0, 3) or (1, 2), of logits 1e-6 and 0.
    assert_close(d.log_partition_function, 1e6 + 1e5 + np.logaddexp(0.0, 1e-6), rtol=1e-15)
    gradient = ops.autodiff.grad(lambda p: dist.SpanningTree(p).log_partition_function)(ops.array(logits))
    share = 1.0 / (1.0 + np.exp(-1e-6))
    assert_close(gradient, [1.0, 0.0, 1.0 - share, share, 0.0, 1.0], "gradient")
    assert len(np.unique(to_host(d.sample((100,))), axis=0)) == 2


@pytest.mark.parametrize("edges", [
    [[0, 1], [0, 1], [2, 3]],  # repeated
    [[0, 1], [0, 2], [1, 2]],  # a cycle, vertex 3 alone
    [[1, 0], [0, 2], [0, 3]],  # not in order
    [[0, 2], [0, 1], [0, 3]],  # edges not in order
    [[0, 1], [0, 2], [0, 4]],  # no such vertex
    [[-1, 1], [0, 2], [0, 3]],
])  # fmt: skip
def test_what_is_no_tree_has_no_mass_and_is_refused(backend, edges):
    edges = np.array(edges)
    assert_close(dist.SpanningTree(np.zeros(6), validate_args=False).log_prob(edges), -INF)
    with pytest.raises(ConstraintError, match="SpanningTree: value is outside the support"):
        dist.SpanningTree(np.zeros(6)).log_prob(edges)


# --- draws ---


@pytest.mark.parametrize("num_vertices", [2, 5])
def test_draws_follow_the_probabilities_of_all_trees(backend, num_vertices):
    logits = edge_logits(num_vertices)
    counts = frequencies(dist.SpanningTree(logits).sample((DRAWS,)), num_vertices)
    if num_vertices == 2:
        assert counts.tolist() == [DRAWS]
        return
    expected, wrong = tree_probabilities(logits) * DRAWS, tree_probabilities(1.3 * logits) * DRAWS
    assert pooled_p_value(counts, expected) > 2e-5
    assert pooled_p_value(counts, wrong) < 2e-5


def pooled_p_value(counts, expected):
    """Pearson's test with the cells of small expectation put together."""
    small = expected < 5.0
    pool = [(counts[small].sum(), expected[small].sum())] if small.any() else []
    cells = np.array([*zip(counts[~small], expected[~small], strict=True), *pool]).T
    return stats.chisquare(*cells).pvalue


def test_draws_between_heavy_clusters(backend):
    """Two pairs of vertices tied by weights e^30 times those of the four edges between them, which share the draws."""
    bridges = np.log([1.0, 2.0, 3.0, 4.0])
    logits = np.array([30.0, bridges[0], bridges[1], bridges[2], bridges[3], 30.0])
    draws = to_host(dist.SpanningTree(logits).sample((DRAWS,)))
    counts = [(draws == np.array(bridge)).all(-1).any(-1).sum() for bridge in ([0, 2], [1, 2], [0, 3], [1, 3])]
    assert sum(counts) == DRAWS
    assert stats.chisquare(counts, np.array([1.0, 2.0, 3.0, 4.0]) * DRAWS / 10.0).pvalue > 2e-5
    assert stats.chisquare(counts, np.array([1.3, 2.0, 3.0, 3.7]) * DRAWS / 10.0).pvalue < 2e-5


def test_draws_of_a_batch_are_of_their_own_row(backend):
    logits = np.stack([edge_logits(3), edge_logits(3, seed=5)])
    draws = to_host(dist.SpanningTree(logits).sample((DRAWS,)))
    for row in range(2):
        counts = frequencies(draws[:, row], 3)
        assert stats.chisquare(counts, tree_probabilities(logits[row]) * DRAWS).pvalue > 2e-5
        assert stats.chisquare(counts, tree_probabilities(logits[1 - row]) * DRAWS).pvalue < 2e-5


def test_draws_of_many_vertices_are_uniform_trees(backend):
    """Under equal weights a vertex of n has 1 + Binomial(n - 2, 1 / n) edges; an edge is there with probability 2 / n."""
    n = 20
    d = dist.SpanningTree(np.zeros(n * (n - 1) // 2))
    draws = d.sample((2000,))
    d.validate_edges(draws)
    draws = to_host(draws)
    for vertex in (0, 7, n - 1):
        degrees = np.bincount((draws == vertex).any(-1).sum(-1) - 1, minlength=6)
        binomial = stats.binom(n - 2, 1.0 / n)
        expected = np.append(binomial.pmf(np.arange(4)), binomial.sf(3)) * len(draws)
        assert stats.chisquare(np.append(degrees[:4], degrees[4:].sum()), expected).pvalue > 2e-5
    present = (draws == np.array([3, 12])).all(-1).any(-1).sum()
    assert stats.binomtest(int(present), len(draws), 2.0 / n).pvalue > 2e-5


def test_draws_are_those_of_their_key(backend):
    d = dist.SpanningTree(edge_logits(4))
    first, second = d.sample((5,), ops.random.key(3)), d.sample((5,), ops.random.key(3))
    assert to_host(first).tolist() == to_host(second).tolist()
    assert ops.dtype_name(first) == "int64"


# --- errors ---


def test_sampler_options_are_taken_and_checked(backend):
    d = dist.SpanningTree(edge_logits(3), {"mcmc_steps": 4, "backend": "python"})
    assert tuple(d.sample().shape) == (2, 2)
    with pytest.raises(ConstraintError, match=r"sampler_options has unknown \['steps'\]"):
        dist.SpanningTree(edge_logits(3), {"steps": 4})


def test_errors_say_what_was_expected(backend):
    with pytest.raises(ShapeError, match="'edge_logits' has 4 entries"):
        dist.SpanningTree(np.zeros(4))
    with pytest.raises(ConstraintError, match=r"SpanningTree: parameter 'edge_logits'.*nan"):
        dist.SpanningTree([0.0, np.nan, 0.0])
    with pytest.raises(GapError, match="up to 7 vertices; 8 have 262144 trees"):
        dist.SpanningTree(np.zeros(28)).enumerate_support()
    with pytest.raises(GapError, match="SpanningTree has no mean: trees have no average"):
        _ = dist.SpanningTree(np.zeros(3)).mean
    with pytest.raises(GapError, match="SpanningTree has no rsample: draws have no pathwise gradient"):
        dist.SpanningTree(np.zeros(3)).rsample()


@pytest.mark.parametrize(("edges", "sentence"), [
    ([[0, 1], [0, 4]], r"whole numbers from 0 to 2; received \[\[0, 1\], \[0, 4\]\]"),
    ([[1, 0], [0, 2]], "v1 < v2"),
    ([[0, 2], [0, 1]], "increasing order"),
    ([[0, 1], [0, 1]], "increasing order"),
])  # fmt: skip
def test_validate_edges(backend, edges, sentence):
    d = dist.SpanningTree(np.zeros(3))
    assert d.validate_edges(d.sample((4,))) is None
    with pytest.raises(ConstraintError, match=sentence):
        d.validate_edges(np.array([[[0, 1], [1, 2]], edges]))
    with pytest.raises(ShapeError, match=r"expected \(\.\.\.\) \+ \(2, 2\), received \(3, 2\)"):
        d.validate_edges(np.zeros((3, 2)))


def test_validate_edges_sees_a_cycle(backend):
    with pytest.raises(ConstraintError, match="connect all vertices"):
        dist.SpanningTree(np.zeros(6)).validate_edges([[0, 1], [0, 2], [1, 2]])
