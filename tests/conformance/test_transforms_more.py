"""Transforms beyond the tables: oracles from outside, every constraint's two transforms, far out and bad input."""

import copy
import itertools

import hypothesis
import numpy as np
import pytest
import scipy.fft
import scipy.special
import scipy.stats
from hypothesis import strategies

from ppl import constraints as c
from ppl import distributions as dist
from ppl import ops, transforms
from ppl.errors import ConstraintError, GapError, ShapeError
from ppl.testing import assert_close, to_host
from ppl.transforms import biject_to, transform_to

pytestmark = pytest.mark.strict

t = transforms
DISCRETE = [c.boolean, c.integer, c.integer_interval(0, 3), c.integer_greater_than(0), c.integer_greater_than_eq(0),
            c.nonnegative_integer, c.positive_integer, c.one_hot, c.multinomial(3)]  # fmt: skip
# set, size of the unconstrained vector of the bijection (None: a number), size of that of transform_to
CONTINUOUS = [
    (c.real, None, None),
    (c.positive, None, None),
    (c.softplus_positive, None, None),
    (c.nonnegative, None, None),
    (c.greater_than(2.0), None, None),
    (c.greater_than_eq(-2.0), None, None),
    (c.less_than(-1e6), None, None),
    (c.less_than_eq(3.0), None, None),
    (c.half_line(2.0, -1.0), None, None),
    (c.unit_interval, None, None),
    (c.circular, None, None),
    (c.interval(-2.0, 5.0), None, None),
    (c.open_interval(1e6, 1e6 + 1.0), None, None),
    (c.half_open_interval(-1.0, 0.0), None, None),
    (c.real_vector, 4, 4),
    (c.simplex, 3, 4),
    (c.ordered_vector, 4, 4),
    (c.positive_ordered_vector, 4, 4),
    (c.l1_ball, 4, 4),
    (c.zero_sum(1), 4, 4),
    (c.independent(c.positive, 1), 3, 3),
    (c.cat([c.positive, c.unit_interval], dim=-1, lengths=[1, 2]), 3, 3),
    (c.cat([c.simplex, c.ordered_vector], dim=-1, lengths=[3, 2]), 4, 5),
    (c.stack([c.positive, c.unit_interval], dim=-1), 2, 2),
    (c.lower_triangular, 6, 6),
    (c.lower_cholesky, 6, 6),
    (c.softplus_lower_cholesky, 6, 6),
    (c.scaled_unit_lower_cholesky, 6, 6),
    (c.unit_lower_cholesky, 3, 3),
    (c.corr_cholesky, 3, 3),
    (c.symmetric, 6, 6),
    (c.positive_semidefinite, 6, 6),
    (c.positive_definite, 6, 6),
    (c.corr_matrix, 3, 3),
]
# Far out, these matrices are singular to working precision: no floating-point matrix is a member.
SINGULAR_FAR_OUT = (c.positive_definite, c.corr_matrix)
WITHOUT_BIJECTION = [c.sphere]
# whose unconstrained form is a whole matrix: members of the table of shapes below
MATRICES = [c.real_matrix, c.square]
NOT_SETS = {"Constraint", "dependent", "dependent_property", "is_dependent"}
reached = pytest.mark.parametrize(("constraint", "size", "loose_size"), CONTINUOUS, ids=[repr(row[0]) for row in CONTINUOUS])


def corners(size, far):
    """All vectors of entries ``far``, 0 and ``-far``."""
    return np.array(list(itertools.product([-far, 0.0, far], repeat=size)))


def test_every_exported_set_is_reached_or_says_why_not():
    listed = {type(x) for x in [*DISCRETE, *(row[0] for row in CONTINUOUS), *WITHOUT_BIJECTION, *MATRICES]}
    for name in set(c.__all__) - NOT_SETS:
        exported = getattr(c, name)
        assert (exported if isinstance(exported, type) else type(exported)) in listed, name


@reached
@pytest.mark.parametrize("registry", [biject_to, transform_to], ids=repr)
def test_registry_reaches_members(backend, registry, constraint, size, loose_size, rng):
    transform = registry(constraint)
    size = size if registry is biject_to else loose_size
    x = rng.normal(size=(8,) if size is None else (4, size))
    y = transform(ops.array(x))
    assert tuple(y.shape) == transform.forward_shape(x.shape)
    assert transform.inverse_shape(tuple(y.shape)) == x.shape
    assert transform.codomain.event_dim == constraint.event_dim
    holds = to_host(constraint(y))
    assert holds.shape == tuple(y.shape)[: y.ndim - constraint.event_dim]
    assert holds.all()
    assert to_host(transform.codomain(y)).all()
    if registry is biject_to:
        assert transform.bijective
        # a bound of 1e6 leaves ten digits of the distance from it
        wide = constraint in (c.less_than(-1e6), c.open_interval(1e6, 1e6 + 1.0))
        assert_close(transform.inv(y), x, rtol=1e-7, atol=1e-8 if wide else 1e-9)


@reached
def test_far_out_values_are_members_and_nothing_is_nan(backend, constraint, size, loose_size):
    for registry, length in [(biject_to, size), (transform_to, loose_size)]:
        transform = registry(constraint)
        x = ops.array(corners(1, 40.0)[:, 0] if length is None else corners(length, 40.0)[:: 1 + 3**length // 200])
        y = transform(x)
        values = to_host(y)
        assert np.isfinite(values).all()
        if constraint not in SINGULAR_FAR_OUT:
            assert to_host(constraint(y)).all()

        def total(point, transform=transform):
            image = transform(point)
            whole = ops.sum(image)
            return whole + ops.sum(transform.log_abs_det_jacobian(point, image)) if transform.bijective else whole

        value, gradient = ops.autodiff.value_and_grad(total)(x)
        assert np.isfinite(to_host(value)).all()
        assert np.isfinite(to_host(gradient)).all()


@reached
@pytest.mark.backends("numpy", "torch")
def test_in_single_precision_too(backend, constraint, size, loose_size):
    for registry, length in [(biject_to, size), (transform_to, loose_size)]:
        transform = registry(constraint)
        points = corners(1, 40.0)[:, 0] if length is None else corners(length, 40.0)[:: 1 + 3**length // 200]
        x = ops.array(points.astype("float32"))
        y = transform(x)
        assert "float32" in ops.dtype_name(y)
        assert np.isfinite(to_host(y)).all()
        if constraint not in SINGULAR_FAR_OUT:
            assert to_host(constraint(y)).all()
        if transform.bijective:
            log_det = transform.log_abs_det_jacobian(x, y)
            assert "float32" in ops.dtype_name(log_det)
            assert np.isfinite(to_host(log_det)).all()


def test_very_far_out_nothing_is_nan(backend):
    x = ops.array([-800.0, 800.0])
    for transform in [t.SoftplusTransform(), t.SigmoidTransform(), t.TanhTransform(), t.ELUTransform(), t.LeakyReLUTransform()]:
        value, slope = ops.autodiff.jvp(transform, (x,), (ops.ones_like(x),))
        assert np.isfinite(to_host(value)).all()
        assert np.isfinite(to_host(slope)).all()
        log_det, slope = ops.autodiff.jvp(lambda v, t=transform: t.log_abs_det_jacobian(v, t(v)), (x,), (ops.ones_like(x),))
        assert np.isfinite(to_host(log_det)).all()
        assert np.isfinite(to_host(slope)).all()
    for transform in [t.L1BallTransform(), t.StickBreakingTransform(), t.CorrCholeskyTransform(), t.SphereTransform()]:
        point = ops.array([800.0, -800.0, 0.0])
        value, gradient = ops.autodiff.value_and_grad(lambda v, t=transform: ops.sum(t(v)))(point)
        assert np.isfinite(to_host(value))
        assert np.isfinite(to_host(gradient)).all()
        if transform.bijective:
            log_det = transform.log_abs_det_jacobian(point, transform(point))
            assert np.isfinite(to_host(log_det))


def test_negative_control_rounding_reaches_the_edge(backend):
    """What the far-out test guards against happens: naive maps leave the open sets."""
    edge = t.ComposeTransform([t.ExpTransform(), t.AffineTransform(2.0, 1.0)])(ops.array(-40.0))
    assert not bool(c.greater_than(2.0)(edge))
    assert not bool(c.ordered_vector(ops.cumsum(ops.exp(ops.array([0.0, 40.0, -40.0])))))


def test_long_vectors_stay_in_order(backend, rng):
    x = ops.array(rng.uniform(-40.0, 40.0, size=(2, 1000)))
    for transform in (t.OrderedTransform(), t.PositiveOrderedTransform()):
        assert to_host(transform.codomain(transform(x))).all()


def test_matrices_that_are_their_own_unconstrained_form(backend, rng):
    x = rng.normal(size=(2, 3, 3))
    for constraint in MATRICES:
        for registry in (biject_to, transform_to):
            transform = registry(constraint)
            assert_close(transform(ops.array(x)), x)
            assert to_host(transform.log_abs_det_jacobian(ops.array(x), ops.array(x))).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("constraint", DISCRETE, ids=repr)
@pytest.mark.parametrize("registry", [biject_to, transform_to], ids=repr)
def test_discrete_sets_say_so(registry, constraint):
    with pytest.raises(GapError, match=r"has no transform: it is discrete; expected a continuous constraint"):
        registry(constraint)


def test_other_sets_without_a_transform_say_why():
    with pytest.raises(GapError, match=r"biject_to\(sphere\) has no transform: no bijection"):
        biject_to(c.sphere)
    with pytest.raises(GapError, match="only on an instance"):
        biject_to(c.dependent)
    with pytest.raises(GapError, match="it is discrete"):
        biject_to(c.stack([c.real, c.boolean]))
    with pytest.raises(GapError, match="it is discrete"):
        transform_to(c.independent(c.one_hot, 1))


def test_sphere_is_reached_without_a_bijection(backend):
    x = np.array([[3.0, 4.0, 0.0], [1e200, 1e200, 0.0], [0.0, 0.0, 0.0], [1e-200, 0.0, 0.0]])
    transform = transform_to(c.sphere)
    y = transform(ops.array(x))
    half = np.sqrt(0.5)
    assert_close(y, [[0.6, 0.8, 0.0], [half, half, 0.0], [3**-0.5] * 3, [1.0, 0.0, 0.0]])
    assert not transform.bijective
    jacobian = ops.autodiff.jacobian(transform)(ops.array(x[0]))
    unit = x[0] / 5.0
    assert_close(jacobian, (np.eye(3) - np.outer(unit, unit)) / 5.0, atol=1e-15)


# -- oracles from outside --


def test_the_probability_integral(backend, rng):
    x = rng.uniform(0.2, 2.0, size=12)
    for family, oracle in [
        (dist.Normal(0.3, 1.5), scipy.stats.norm(0.3, 1.5)),
        (dist.Exponential(2.0), scipy.stats.expon(scale=0.5)),
    ]:
        transform = t.CumulativeDistributionTransform(family)
        y = transform(ops.array(x))
        assert_close(y, oracle.cdf(x))
        assert_close(transform.inv(y), x, rtol=1e-9)
        assert_close(transform.log_abs_det_jacobian(ops.array(x), y), oracle.logpdf(x))
        assert_close(ops.autodiff.grad(lambda v, t=transform: ops.sum(t(v)))(ops.array(x)), oracle.pdf(x))
        assert transform.domain == family.support
        assert to_host(transform.codomain(y)).all()


def test_values_agree_with_scipy(backend, rng):
    x = rng.normal(size=50) * 5
    assert_close(t.SoftplusTransform()(ops.array(x)), np.logaddexp(x, 0.0))
    assert_close(t.SoftplusTransform().inv(ops.array(np.exp(x))), scipy.special.logsumexp(
        [np.exp(x), np.zeros(50)], b=[[1.0], [-1.0]] * np.ones((2, 50)), axis=0), rtol=1e-9, atol=1e-9)  # fmt: skip
    assert_close(t.ELUTransform()(ops.array(x)), np.where(x > 0, x, np.expm1(x)))
    assert_close(t.PositivePowerTransform(3.0)(ops.array(x)), x**3, rtol=1e-12)


def test_positive_power_at_zero(backend):
    value, slope = ops.autodiff.jvp(t.PositivePowerTransform(1.0), (ops.array(0.0),), (ops.array(1.0),))
    assert (float(value), float(slope)) == (0.0, 1.0)
    value, slope = ops.autodiff.jvp(t.PositivePowerTransform(2.0), (ops.array(0.0),), (ops.array(1.0),))
    assert (float(value), abs(float(slope)) < 1e-300) == (0.0, True)


def test_ordered_vectors_are_running_sums(backend, rng):
    x = rng.normal(size=(3, 5))
    gaps = np.exp(x)
    assert_close(t.OrderedTransform()(ops.array(x)), np.cumsum(np.concatenate([x[:, :1], gaps[:, 1:]], 1), axis=1))
    assert_close(t.PositiveOrderedTransform()(ops.array(x)), np.cumsum(gaps, axis=1))


def test_cutpoints_divide_a_logistic_variable(backend, rng):
    weights = rng.dirichlet(np.ones(5), size=4)
    anchors = rng.normal(size=4)
    cutpoints = to_host(t.SimplexToOrderedTransform(anchors)(ops.array(weights)))
    edges = scipy.stats.logistic.cdf(cutpoints, loc=anchors[:, None])
    assert_close(np.diff(edges, prepend=0.0, append=1.0), weights, rtol=1e-9)
    back = t.SimplexToOrderedTransform(anchors).inv(ops.array(cutpoints))
    assert_close(back, weights, rtol=1e-9)
    # tails that a difference of distribution functions would lose
    tails = np.array([1e-30, 0.5, 0.5 - 1e-20, 1e-20])
    assert_close(t.SimplexToOrderedTransform().inv(t.SimplexToOrderedTransform()(ops.array(tails))), tails, rtol=1e-9)


def test_factors_agree_with_numpy(backend, rng):
    factor = np.tril(rng.normal(size=(2, 3, 3)), -1) + np.eye(3) * 1.5
    matrix = factor @ factor.swapaxes(-1, -2)
    assert_close(t.CholeskyTransform()(ops.array(matrix)), np.linalg.cholesky(matrix))
    scale = np.sqrt(np.diagonal(matrix, axis1=-2, axis2=-1))
    corr = matrix / scale[:, :, None] / scale[:, None, :]
    assert_close(t.CorrMatrixCholeskyTransform()(ops.array(corr)), np.linalg.cholesky(corr))
    assert_close(t.CorrMatrixCholeskyTransform().inv(ops.array(np.linalg.cholesky(corr))), corr)


def test_matrix_product_gives_the_covariance_of_its_factor(backend, rng):
    factor = np.array([[2.0, 0.0], [0.5, -3.0]])
    transform = t.LowerCholeskyAffine(ops.array([[1.0, 2.0], [0.0, 0.0], [5.0, 5.0]]), ops.array(factor))
    x = rng.normal(size=(4, 1, 2))
    y = transform(ops.array(x))
    assert tuple(y.shape) == transform.forward_shape((4, 1, 2)) == (4, 3, 2)
    assert_close(y, np.array([[1.0, 2.0], [0.0, 0.0], [5.0, 5.0]]) + x @ factor.T)
    assert_close(transform.inv(y), np.broadcast_to(x, (4, 3, 2)))
    assert_close(transform.log_abs_det_jacobian(ops.array(x), y), np.full((4, 1), np.log(6.0)), rtol=1e-12)
    assert_close(
        dist.TransformedDistribution(
            dist.Normal(ops.zeros(2), 1.0).to_event(1), t.LowerCholeskyAffine(ops.array([1.0, 2.0]), ops.array(factor))
        ).log_prob(ops.array([0.3, -0.4])),
        scipy.stats.multivariate_normal([1.0, 2.0], factor @ factor.T).logpdf([0.3, -0.4]),
    )


def test_permutations_and_reshapes_agree_with_numpy(backend, rng):
    x = rng.normal(size=(2, 3, 4))
    order = [2, 0, 3, 1]
    assert_close(t.PermuteTransform(order)(ops.array(x)), x[..., order])
    assert_close(t.PermuteTransform(np.array([1, 2, 0]), dim=-2)(ops.array(x)), x[:, [1, 2, 0]])
    assert_close(t.PermuteTransform(ops.array(order, dtype="int64")).inv(ops.array(x)), x[..., np.argsort(order)])
    assert t.PermuteTransform(order).inv_permutation == tuple(np.argsort(order))
    assert tuple(t.PermuteTransform([1, 2, 0], dim=-2).log_abs_det_jacobian(ops.array(x), ops.array(x)).shape) == (2,)
    reshape = t.ReshapeTransform((3, 4), (2, 6))
    assert_close(reshape(ops.array(x)), x.reshape(2, 2, 6))
    assert_close(reshape.inv(reshape(ops.array(x))), x)


def test_transforms_that_keep_lengths(backend, rng):
    x = rng.normal(size=(2, 5, 6))
    assert_close(t.DiscreteCosineTransform()(ops.array(x)), scipy.fft.dct(x, norm="ortho"))
    assert_close(t.DiscreteCosineTransform(dim=-2)(ops.array(x)), scipy.fft.dct(x, norm="ortho", axis=-2))
    weights = (np.arange(6) + 0.5) ** 0.7
    smooth = scipy.fft.dct(x, norm="ortho") * weights / scipy.stats.gmean(weights)
    assert_close(t.DiscreteCosineTransform(smooth=0.7)(ops.array(x)), smooth)
    r = np.sqrt(0.5)
    by_hand = np.array([[r * r, r * r, r * r, r * r, 0.0], [r * r, r * r, -r * r, -r * r, 0.0], [r, -r, 0.0, 0.0, 0.0],
                        [0.0, 0.0, r, -r, 0.0], [0.0, 0.0, 0.0, 0.0, 1.0]])  # fmt: skip
    haar = t.HaarTransform(dim=-2)
    assert_close(haar(ops.array(x)), np.einsum("ij,bjk->bik", by_hand, x))
    assert_close(haar.inv(haar(ops.array(x))), x)
    flipped = t.HaarTransform(dim=-2, flip=True)
    assert_close(flipped(ops.array(x)), np.einsum("ij,bjk->bik", by_hand, x[:, ::-1]))
    assert_close(flipped.inv(flipped(ops.array(x))), x)
    for size in range(1, 10):
        matrix = to_host(t.HaarTransform()(ops.eye(size)))
        assert_close(matrix @ matrix.T, np.eye(size), atol=1e-14)
    with pytest.raises(ShapeError, match="dim < 0"):
        t.HaarTransform(0)


def test_zero_sums_keep_lengths_and_angles(backend, rng):
    jacobian = to_host(ops.autodiff.jacobian(t.ZeroSumTransform())(ops.array(rng.normal(size=4))))
    assert jacobian.shape == (5, 4)
    assert_close(jacobian.T @ jacobian, np.eye(4), atol=1e-14)
    x = rng.normal(size=(3, 2, 4))
    transform = biject_to(c.zero_sum(2))
    y = transform(ops.array(x))
    assert tuple(y.shape) == transform.forward_shape((3, 2, 4)) == (3, 3, 5)
    assert transform.inverse_shape((3, 3, 5)) == (3, 2, 4)
    assert_close(to_host(y).sum(-1), np.zeros((3, 3)), atol=1e-13)
    assert_close(to_host(y).sum(-2), np.zeros((3, 5)), atol=1e-13)
    assert to_host(c.zero_sum(2)(y)).tolist() == [True] * 3
    assert_close(transform.inv(y), x)
    assert to_host(transform.log_abs_det_jacobian(ops.array(x), y)).tolist() == [0.0] * 3


# -- parts side by side --


@hypothesis.given(
    batch=strategies.lists(strategies.integers(1, 3), max_size=2),
    lengths=strategies.lists(strategies.integers(1, 3), min_size=1, max_size=3),
    axis=strategies.integers(0, 2),
)
@hypothesis.settings(max_examples=25, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@pytest.mark.backends("numpy")
def test_pieces_are_transformed_like_numpy_does_it(backend, batch, lengths, axis):
    axis = min(axis, len(batch))
    shape = (*batch[:axis], sum(lengths), *batch[axis:])
    x = np.linspace(-1.0, 1.0, int(np.prod(shape))).reshape(shape)
    parts = [t.ExpTransform(), t.AffineTransform(1.0, -2.0), t.SigmoidTransform()][: len(lengths)]
    by_numpy = [np.exp, lambda v: 1.0 - 2.0 * v, scipy.special.expit]
    pieces = np.split(x, np.cumsum(lengths)[:-1], axis=axis)
    expected = np.concatenate([f(piece) for f, piece in zip(by_numpy, pieces, strict=False)], axis=axis)
    for dim in (axis, axis - len(shape)):
        transform = t.CatTransform(parts, dim=dim, lengths=lengths)
        y = transform(x)
        assert_close(y, expected)
        assert_close(transform.inv(y), x, atol=1e-12)
        assert (
            transform.log_abs_det_jacobian(x, y).shape
            == transform.forward_shape(shape)
            == transform.inverse_shape(shape)
            == shape
        )
        assert transform.codomain(y).all()
    stacked = np.stack([x] * len(parts), axis=axis)
    transform = t.StackTransform(parts, dim=axis)
    y = transform(stacked)
    assert_close(y, np.stack([f(x) for f in by_numpy[: len(parts)]], axis=axis))
    assert_close(transform.inv(y), stacked, atol=1e-12)
    assert transform.forward_shape(stacked.shape) == transform.inverse_shape(stacked.shape) == stacked.shape


def test_pieces_that_change_their_shape(backend, rng):
    """A simplex and a positive vector of four make seven numbers out of six; factors along a batch axis grow by an axis."""
    constraint = c.cat([c.simplex, c.independent(c.positive, 1)], dim=-1, lengths=[3, 4])
    transform = biject_to(constraint)
    assert transform.forward_shape((2, 6)) == (2, 7)
    assert transform.lengths == (2, 4)
    x = ops.array(rng.normal(size=(2, 6)))
    y = transform(x)
    log_det = transform.log_abs_det_jacobian(x, y)
    by_part = t.StickBreakingTransform().log_abs_det_jacobian(x[..., :2], y[..., :3]) + ops.sum(x[..., 2:], axis=-1)
    assert_close(log_det, to_host(by_part))
    for dim in (0, -3):
        rows = c.cat([c.corr_cholesky, c.lower_cholesky], dim=dim, lengths=[1, 2])
        mixed = c.stack([c.corr_cholesky, c.corr_matrix], dim=dim)
        with pytest.raises(ShapeError, match="do not fit side by side"):
            biject_to(rows).inverse_shape((3, 2, 2))
        with pytest.raises(ShapeError, match="do not fit side by side"):
            biject_to(c.stack(rows.cseq, dim)).inverse_shape((2, 2, 2))
        transform = biject_to(mixed)
        assert transform.forward_shape((2, 3)) == (2, 3, 3)
        assert transform.inverse_shape((2, 3, 3)) == (2, 3)
        x = ops.array(rng.normal(size=(2, 3)))
        y = transform(x)
        assert to_host(mixed(y)).tolist() == [True, True]
        assert_close(transform.inv(y), to_host(x), rtol=1e-8)
        assert tuple(transform.log_abs_det_jacobian(x, y).shape) == (2,)


def test_bad_parts_and_shapes_get_a_sentence(backend):
    exp = t.ExpTransform()
    for build in [lambda: t.CatTransform([]), lambda: t.StackTransform([]), lambda: t.CatTransform([exp], lengths=[1, 2])]:
        with pytest.raises(ConstraintError, match="one or more"):
            build()
    with pytest.raises(ShapeError, match="do not make up"):
        t.CatTransform([exp, exp], dim=-1)(ops.zeros(3))
    with pytest.raises(ShapeError, match="do not make up"):
        t.CatTransform([exp, exp], dim=-1).forward_shape((3,))
    with pytest.raises(ShapeError, match="do not make up"):
        t.StackTransform([exp, exp], dim=-1)(ops.zeros(3))
    with pytest.raises(ShapeError, match="keeps the number of entries"):
        t.ReshapeTransform((2, 3), (5,))
    with pytest.raises(ShapeError, match=r"ends in \(6,\)"):
        t.ReshapeTransform((6,), (2, 3)).forward_shape((5,))
    with pytest.raises(ShapeError, match="each of 0 to n - 1 once"):
        t.PermuteTransform([0, 2])
    with pytest.raises(ShapeError, match="dim < 0"):
        t.PermuteTransform([0, 1], dim=0)
    with pytest.raises(ConstraintError, match="0 or 1"):
        t.ExpTransform(cache_size=2)


MAPPED = [
    (biject_to(c.less_than(-1e6)), 3),
    (biject_to(c.corr_matrix), 3),
    (biject_to(c.cat([c.simplex, c.ordered_vector], dim=-1, lengths=[3, 2])), 4),
    (biject_to(c.zero_sum(1)), 4),
    (t.PermuteTransform([2, 0, 1]), 3),
    (t.HaarTransform(), 5),
    (t.ScaledUnitLowerCholeskyTransform(), 6),
]


@pytest.mark.parametrize(("transform", "size"), MAPPED, ids=lambda value: type(value).__name__)
def test_mapped_and_compiled_they_give_the_same(backend, transform, size, rng):
    x = ops.array(rng.normal(size=(3, size)))

    def both(point):
        y = transform(point)
        return y, transform.log_abs_det_jacobian(point, y), transform.inv(y)

    plain = both(x)
    for results in (ops.autodiff.vmap(both)(x), ops.compile.compile(both)(x)):
        for expected, result in zip(plain, results, strict=True):
            assert tuple(result.shape) == tuple(expected.shape)
            assert_close(result, to_host(expected))


# -- domains, codomains and signs --


def test_the_image_of_an_affine_map(backend):
    affine = t.AffineTransform
    assert affine(1.0, -2.0, domain=c.positive).codomain == c.less_than(1.0)
    assert affine(1.0, -2.0, domain=c.nonnegative).codomain == c.less_than_eq(1.0)
    assert affine(1.0, 2.0, domain=c.less_than_eq(3.0)).codomain == c.less_than_eq(7.0)
    assert affine(1.0, -2.0, domain=c.less_than(3.0)).codomain == c.greater_than(-5.0)
    assert affine(1.0, -2.0, domain=c.unit_interval).codomain == c.interval(-1.0, 1.0)
    assert affine(1.0, -2.0, domain=c.open_interval(0.0, 1.0)).codomain == c.open_interval(-1.0, 1.0)
    assert affine(1.0, 2.0, domain=c.half_open_interval(0.0, 1.0)).codomain == c.half_open_interval(1.0, 3.0)
    assert affine(1.0, 2.0, domain=c.real, event_dim=1).codomain == c.independent(c.real, 1)


@pytest.mark.parametrize("domain", [c.positive, c.less_than(2.0), c.unit_interval, c.open_interval(-1.0, 1.0)], ids=repr)
def test_the_image_of_an_affine_map_of_mixed_signs(backend, domain, rng):
    transform = t.AffineTransform(ops.array([1.0, 2.0]), ops.array([3.0, -0.5]), domain=domain)
    x = transform_to(domain)(ops.array(rng.normal(size=(20, 2))))
    y = transform(x)
    assert to_host(transform.sign).tolist() == [1.0, -1.0]
    assert to_host(transform.codomain(y)).all()
    # the mirror image about the edge, or about the middle shifted by a width, is outside
    low = domain.lower_bound if hasattr(domain, "lower_bound") else domain.upper_bound
    assert not to_host(transform.codomain(transform(2.0 * low - x - 1e-3 * ops.sign(x - low)))).any()
    # and it can be reached in turn
    z = biject_to(transform.codomain)(ops.array(rng.normal(size=(20, 2))))
    assert to_host(transform.codomain(z)).all()
    assert to_host(domain(transform.inv(z))).all()


def test_the_image_of_the_exponential():
    assert t.ExpTransform().codomain == c.positive
    assert t.ExpTransform(c.ordered_vector).codomain == c.positive_ordered_vector
    assert t.ExpTransform(c.greater_than(0.0)).codomain == c.greater_than(1.0)
    assert t.ExpTransform(c.nonnegative).codomain == c.greater_than_eq(1.0)
    assert t.ExpTransform(c.less_than(0.0)).codomain == c.open_interval(0.0, 1.0)
    assert t.ExpTransform(c.unit_interval).codomain == c.interval(1.0, float(np.exp(1.0)))
    assert t.ExpTransform(c.real_vector).codomain == c.independent(c.positive, 1)
    assert t.IdentityTransform(2).domain == t.IdentityTransform(event_dim=2).codomain == c.independent(c.real, 2)


def test_a_falling_map_reflects_the_distribution_function(backend):
    d = dist.TransformedDistribution(dist.Exponential(ops.array([1.0, 1.0])), t.AffineTransform(0.0, ops.array([2.0, -2.0])))
    assert_close(d.cdf(ops.array([1.0, -1.0])), [scipy.stats.expon(scale=2.0).cdf(1.0), scipy.stats.expon(scale=2.0).sf(1.0)])


@pytest.mark.backends("torch")
def test_torchs_other_objects_are_understood(backend):
    from torch import distributions as native

    theirs = native.constraints
    for name in ("positive_semidefinite", "square", "symmetric", "nonnegative", "real_vector", "positive_integer"):
        assert t.as_constraint(getattr(theirs, name)) is getattr(c, name)
        assert t.as_constraint(copy.copy(getattr(theirs, name))).check(ops.eye(2)) is not None
    assert t.as_constraint(copy.copy(theirs.positive_integer)) == c.integer_greater_than_eq(1)
    assert t.as_constraint(theirs.cat([theirs.positive, theirs.real], -1, [1, 2])) == c.cat([c.positive, c.real], -1, [1, 2])
    assert t.as_constraint(theirs.stack([theirs.simplex, theirs.real_vector], 0)) == c.stack([c.simplex, c.real_vector], 0)
    y = biject_to(theirs.cat([theirs.positive, theirs.unit_interval], -1, [1, 2]))(ops.zeros(3))
    assert_close(y, [1.0, 0.5, 0.5])
    transform = t.as_transform(native.CatTransform([native.ExpTransform(), native.SigmoidTransform()], dim=-1, lengths=[1, 2]))
    assert transform.codomain == c.cat([c.positive, c.unit_interval], -1, [1, 2])
    x = ops.zeros(3)
    assert_close(transform.log_abs_det_jacobian(x, transform(x), intermediates=None), [0.0, np.log(0.25), np.log(0.25)])
    chain = t.ComposeTransform([native.ExpTransform(), t.ExpTransform()])
    y, intermediates = chain.call_with_intermediates(x)
    assert_close(chain.log_abs_det_jacobian(x, y, intermediates), [1.0, 1.0, 1.0])
