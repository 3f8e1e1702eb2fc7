"""Random spanning trees."""

import functools
import itertools
import math

from ppl import constraints, ops
from ppl.distributions.distribution import Distribution
from ppl.distributions.gaps import NOT_PATHWISE, VECTOR
from ppl.errors import ConstraintError, GapError, ShapeError
from ppl.ops import random

MAX_ENUMERATED_VERTICES = 7
SAMPLER_OPTIONS = frozenset({"mcmc_steps", "initial_edges", "backend"})
NO_AVERAGE = "trees have no average"
# The logarithm of a weight that is as good as zero. It is finite, so that all derivatives of sums of exponentials are.
NO_WEIGHT = -1e30


class SpanningTree(Distribution):
    r"""Distribution over the spanning trees of the complete graph on :math:`V` vertices.

    .. math:: P(T) = \frac{1}{Z} \prod_{e \in T} e^{\ell_e}, \quad Z = \sum_T \prod_{e \in T} e^{\ell_e}

    :param edge_logits: :math:`\ell`, shape ``(..., V * (V - 1) / 2)``, finite: logarithms of the weights of the edges
        ``(0, 1), (0, 2), (1, 2), (0, 3), ...``; edge ``(v1, v2)`` with ``v1 < v2`` stands at ``v1 + v2 * (v2 - 1) / 2``. A very
        negative number, such as ``-1e4``, forbids an edge.
    :param sampler_options: taken so that programs which tune an approximate sampler run; this sampler is exact and needs none.
    :raises ShapeError: if the number of logits is that of no complete graph.
    :raises ConstraintError: if an option is unknown.

    A tree is an integer array of shape ``(V - 1, 2)``: each edge in order, and the edges in the order of the logits.
    :meth:`validate_edges` tells what is wrong with one.

    Vertices are eliminated one by one as in Gaussian elimination of the graph's Laplacian, whose pivots are sums of positive
    terms (Grassmann, Taksar and Heyman 1985), so the partition function keeps its digits for any weights, in time
    :math:`O(V^3)`. A draw puts the vertices back in turn, each step choosing which edges of the smaller tree stood for a way
    through the vertex (the idea of Colbourn, Day and Nel 1989, Unranking and ranking spanning trees of a graph): it is exact
    and takes :math:`O(V^3)` too, with no random walk to wait for.

    >>> from ppl import distributions as dist, ops
    >>> d = dist.SpanningTree(ops.array([0.0, 0.0, 0.0]))
    >>> d.num_vertices, round(float(d.log_prob(ops.array([[0, 1], [1, 2]]))), 4)
    (3, -1.0986)
    """

    arg_constraints = {"edge_logits": constraints.real_vector}
    has_enumerate_support = True
    gaps = {**VECTOR, "rsample": NOT_PATHWISE, "mean": NO_AVERAGE, "variance": NO_AVERAGE}

    def __init__(self, edge_logits, sampler_options=None, *, validate_args=None):
        unknown = sorted(set(sampler_options or ()) - SAMPLER_OPTIONS)
        if unknown:
            raise ConstraintError(f"SpanningTree: sampler_options has unknown {unknown}; expected {sorted(SAMPLER_OPTIONS)}")
        (self.edge_logits,), batch_shape = self.promote_events((edge_logits, 1))
        self.num_vertices = _count_vertices(int(self.edge_logits.shape[-1]))
        super().__init__(batch_shape, (self.num_vertices - 1, 2), validate_args=validate_args)

    @property
    def support(self):
        """Spanning trees in canonical order."""
        return spanning_trees(self.num_vertices)

    @property
    def log_partition_function(self):
        """The logarithm of the sum over all trees of the products of their weights, of the batch shape."""
        return _log_partition(_as_matrix(self.edge_logits, self.num_vertices), self.num_vertices)

    def validate_edges(self, edges):
        """Return nothing if ``edges`` are trees in canonical order.

        :raises ShapeError: if the shape is not ``(..., V - 1, 2)``.
        :raises ConstraintError: naming the property that fails and the first tree that lacks it.
        """
        edges = edges if ops.is_array(edges) else ops.array(edges)
        shape, expected = tuple(edges.shape), tuple(self.event_shape)
        if shape[-2:] != expected:
            raise ShapeError(f"SpanningTree: edges have the wrong shape; expected (...) + {expected}, received {shape}")
        for holds, expected in _properties(edges, self.num_vertices):
            flags = [bool(flag) for flag in ops.to_numpy(holds).reshape(-1)]
            if not all(flags):
                tree = ops.to_numpy(edges).reshape(-1, *self.event_shape)[flags.index(False)].tolist()
                raise ConstraintError(f"SpanningTree: expected {expected}; received {tree}")

    def sample(self, sample_shape=(), rng_key=None):
        logits = ops.autodiff.stop_gradient(self.edge_logits)
        n = self.num_vertices
        shape = (*sample_shape, *self.batch_shape, n)
        matrix = _as_matrix(logits, n)
        uniform = random.open_uniform(rng_key, (2, n, *shape), self.dtype)
        parents = _sample_parents(matrix, _eliminate(matrix, n), n, uniform)[..., 1:]
        children = ops.arange(1, n)
        low, high = ops.minimum(parents, children), ops.maximum(parents, children)
        ranks = ops.sort(_rank(low, high), axis=-1)
        return ops.take(ops.stack(make_complete_graph(n), axis=-1), ranks, axis=0)

    def log_prob(self, value):
        value = ops.autodiff.stop_gradient(value)
        edges = ops.astype(value, "int64")
        count = int(self.edge_logits.shape[-1])
        ranks = ops.clip(_rank(edges[..., 0], edges[..., 1]), min=0, max=count - 1)
        shape = ops.broadcast_shapes(tuple(ranks.shape[:-1]), tuple(self.batch_shape))
        logits = ops.broadcast_to(self.edge_logits, (*shape, count))
        chosen = ops.take_along_axis(logits, ops.broadcast_to(ranks, (*shape, self.num_vertices - 1)), axis=-1)
        is_tree = spanning_trees(self.num_vertices).check(value)
        return ops.where(is_tree, ops.sum(chosen, axis=-1) - self.log_partition_function, -math.inf)

    def entropy(self):
        """Return the log partition less the expected sum of logits, which is its derivative along the logits themselves."""
        n = self.num_vertices
        log_partition, expected = ops.autodiff.jvp(
            lambda logits: _log_partition(_as_matrix(logits, n), n), (self.edge_logits,), (self.edge_logits,)
        )
        return log_partition - expected

    def enumerate_support(self, expand=True):
        if self.num_vertices > MAX_ENUMERATED_VERTICES:
            raise GapError(
                f"SpanningTree enumerates up to {MAX_ENUMERATED_VERTICES} vertices; {self.num_vertices} have "
                f"{self.num_vertices ** (self.num_vertices - 2)} trees"
            )
        trees = ops.array(_all_trees(self.num_vertices), dtype="int64")
        count = int(trees.shape[0])
        trees = ops.reshape(trees, (count, *(1,) * len(self.batch_shape), *self.event_shape))
        return ops.broadcast_to(trees, (count, *self.shape())) if expand else trees


class spanning_trees(constraints.Constraint):
    """Spanning trees of the complete graph, as :class:`SpanningTree` writes them.

    :param num_vertices: number of vertices.

    >>> from ppl import ops
    >>> from ppl.distributions.spanning_tree import spanning_trees
    >>> [bool(spanning_trees(3).check(ops.array(edges))) for edges in ([[0, 1], [0, 2]], [[0, 1], [0, 1]])]
    [True, False]
    """

    event_dim = 2
    is_discrete = True

    def __init__(self, num_vertices):
        self.num_vertices = num_vertices

    def check(self, value):
        holds = [holds for holds, _ in _properties(value, self.num_vertices)]
        return functools.reduce(ops.logical_and, holds)

    def feasible_like(self, prototype):
        path = ops.array([[v, v + 1] for v in range(self.num_vertices - 1)])
        return ops.zeros_like(prototype) + ops.astype(path, prototype.dtype)


def make_complete_graph(num_vertices):
    """Return the smaller and the larger ends of the edges of the complete graph, in the order of ``edge_logits``.

    :param num_vertices: number of vertices, at least two.

    With them ``matrix[v1, v2]`` is the vector of logits that a symmetric matrix stands for.

    >>> from ppl import ops
    >>> from ppl.distributions.spanning_tree import make_complete_graph
    >>> [ops.to_numpy(ends).tolist() for ends in make_complete_graph(3)]
    [[0, 0, 1], [1, 2, 2]]
    """
    pairs = [(v1, v2) for v2 in range(num_vertices) for v1 in range(v2)]
    return ops.array([v1 for v1, _ in pairs], dtype="int64"), ops.array([v2 for _, v2 in pairs], dtype="int64")


def _count_vertices(num_edges):
    n = (1 + math.isqrt(1 + 8 * num_edges)) // 2
    if num_edges < 1 or n * (n - 1) // 2 != num_edges:
        raise ShapeError(
            f"SpanningTree: parameter 'edge_logits' has {num_edges} entries along its last axis; "
            "expected V * (V - 1) / 2 of them, such as 1, 3, 6 or 10"
        )
    return n


def _rank(low, high):
    """Return where the edge of the two ends stands in the complete graph."""
    return low + high * (high - 1) // 2


def _as_matrix(edge_logits, n):
    """Return the symmetric matrix of logits; its diagonal, which nothing uses, is zero."""
    return ops.where(ops.eye(n) > 0, 0.0, _fill(edge_logits, n))


def _fill(edge_logits, n):
    positions = [[_rank(min(i, j), max(i, j)) if i != j else 0 for j in range(n)] for i in range(n)]
    return ops.take(edge_logits, ops.array(positions, dtype="int64"), axis=-1)


def _eliminate(matrix, n):
    """Eliminate vertices from last to first; return, by vertex, its log-weights to those below it and the log of their sum.

    The vertices that are left are joined, beside their own edges, by one edge for each way through the vertex that went:
    its weight is the product of the two weights over the sum of all.
    """
    vertices = ops.arange(n)
    rows, totals = [None] * n, [None] * n
    for v in reversed(range(1, n)):
        row = rows[v] = ops.where(vertices < v, matrix[..., v, :], NO_WEIGHT)
        total = totals[v] = ops.logsumexp(row, axis=-1)
        if v > 1:
            share = row - ops.expand_dims(total, -1)
            through = ops.expand_dims(row, -1) + ops.expand_dims(share, -2)
            # Second derivatives of logaddexp overflow on torch where the terms are far apart; those of logsumexp do not.
            matrix = ops.logsumexp(ops.stack([matrix, through]), axis=0)
    return rows, totals


def _log_partition(matrix, n):
    _, totals = _eliminate(matrix, n)
    return functools.reduce(ops.add, totals[1:])


def _sample_parents(matrix, eliminated, n, uniform):
    """Return each vertex's parent in a random tree rooted at vertex 0; ``uniform`` has shape ``(2, n) + shape of the result``.

    Vertices come back from first to last. An edge of the tree on the vertices below ``v`` either stood for itself or for a way
    through ``v`` or a later vertex, its origin, drawn when the edge appears in proportion to their parts in its weight. When
    ``v`` returns, the edges that went through it fall, and cut the tree. What still hangs on the root takes ``v`` by one of its
    own edges to it; each of the other parts hangs itself on ``v`` by its topmost vertex. Summed over the trees that joined the
    same parts, by Cayley's formula for rooted forests, the weights are those of the larger graph.
    """
    rows, totals = eliminated
    rows = ops.stack([ops.full_like(rows[1], NO_WEIGHT), *rows[1:]], axis=-2)
    totals = ops.stack([ops.zeros_like(totals[1]), *totals[1:]], axis=-1)
    vertices = ops.arange(n)
    shape = tuple(uniform.shape[2:])
    parents, origins = ops.zeros(shape, dtype="int64"), ops.full(shape, n, dtype="int64")
    for v in range(1, n):
        fallen = (origins == v) & (vertices < v)
        tops = ops.where(fallen, vertices, parents)
        for _ in range(max(1, (v - 1).bit_length())):
            tops = ops.take_along_axis(tops, tops, axis=-1)
        gumbel = -ops.log(-ops.log(uniform[0, v]))
        scores = ops.where((tops == 0) & (vertices < v), rows[..., v, :] + gumbel, -math.inf)
        parent = ops.expand_dims(ops.argmax(scores, axis=-1), -1)
        drawn = _draw_origins(matrix, rows, totals, v, n, uniform[1, v])
        # The new edges are (i, v) for fallen i, and (parent, v), which is kept with v.
        own = ops.take_along_axis(drawn, parent, axis=-1)
        parents = ops.where(vertices == v, parent, ops.where(fallen, v, parents))
        origins = ops.where(vertices == v, own, ops.where(fallen, drawn, origins))
    return parents


def _draw_origins(matrix, rows, totals, v, n, uniform):
    """Return, for each vertex below ``v``, through which later vertex its edge to ``v`` leads; ``n`` for the edge itself."""
    vertices = ops.arange(n)
    below, later = vertices < v, ops.expand_dims(vertices > v, -1)
    weight = ops.expand_dims(ops.where(below, rows[..., v, :], 0.0), -2)
    log_part = rows + rows[..., v : v + 1] - ops.expand_dims(totals, -1) - weight
    cumulative = ops.cumsum(ops.exp(ops.where(below & later, log_part, -math.inf)), axis=-2)
    itself = ops.exp(ops.where(below, matrix[..., v : v + 1, :] - weight, -math.inf))
    # The parts sum to one but for rounding, which must not choose a forbidden edge.
    level = ops.expand_dims(uniform, -2) * (cumulative[..., -1:, :] + itself)
    return ops.sum(ops.astype(level >= cumulative, "int64"), axis=-2)


def _properties(edges, n):
    """Return pairs of whether each tree has a property, and the property in words."""
    low, high = edges[..., 0], edges[..., 1]
    ranks = _rank(low, high)
    increasing = ranks[..., 1:] > ranks[..., :-1]
    whole = (low % 1 == 0) & (high % 1 == 0)
    ends = ops.arange(n)
    one_low = ops.astype(ops.expand_dims(low, -1) == ends, ops.default_dtype())
    one_high = ops.astype(ops.expand_dims(high, -1) == ends, ops.default_dtype())
    joined = ops.matmul(ops.matrix_transpose(one_low), one_high)
    reached = joined + ops.matrix_transpose(joined) + ops.eye(n)
    for _ in range(max(1, (n - 1).bit_length())):
        reached = ops.minimum(ops.matmul(reached, reached), 1.0)
    return [
        (ops.all((low >= 0) & (high < n) & whole, axis=-1), f"vertices that are whole numbers from 0 to {n - 1}"),
        (ops.all(low < high, axis=-1), "edges (v1, v2) with v1 < v2"),
        (ops.all(increasing, axis=-1), "edges in increasing order of v1 + v2 * (v2 - 1) / 2"),
        (ops.all(reached > 0, axis=(-2, -1)), "edges that connect all vertices"),
    ]


@functools.cache
def _all_trees(n):
    """Return all spanning trees, as nested lists, by Pruefer's correspondence (Pruefer 1918)."""
    return [_decode(code, n) for code in itertools.product(range(n), repeat=n - 2)]


def _decode(code, n):
    degrees = [1 + code.count(v) for v in range(n)]
    edges = []
    for v in code:
        leaf = degrees.index(1)
        edges.append((leaf, v))
        degrees[leaf] -= 1
        degrees[v] -= 1
    edges.append(tuple(v for v in range(n) if degrees[v] == 1))
    return [list(edge) for edge in sorted((tuple(sorted(edge)) for edge in edges), key=lambda edge: edge[::-1])]
