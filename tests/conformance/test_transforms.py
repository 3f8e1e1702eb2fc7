"""Transforms: round trips, log-determinants against numerical Jacobians, shapes, and the registries."""

import numpy as np
import pytest

from ppl import constraints, ops, transforms
from ppl.distributions import biject_to, transform_to
from ppl.errors import ShapeError
from ppl.testing import assert_close, numerical_jacobian, to_host
from ppl.transforms.transform import log_det_of

pytestmark = pytest.mark.strict

t = transforms
SCALAR = [
    t.IdentityTransform(),
    t.AffineTransform(0.7, -2.5),
    t.ExpTransform(),
    t.SigmoidTransform(),
    t.TanhTransform(),
    t.ExpTransform().inv,
    t.PowerTransform(1.7),
    t.ComposeTransform([t.AffineTransform(0.1, 0.5), t.SigmoidTransform(), t.AffineTransform(-3.0, 5.0)]),
    t.SoftplusTransform(),
    t.SoftplusTransform().inv,
    t.ELUTransform(),
    t.LeakyReLUTransform(0.3),
    t.ComposeTransform([t.AffineTransform(0.0, -1.0), t.LeakyReLUTransform(0.3)]),
    t.ComposeTransform([t.AffineTransform(0.0, -1.0), t.ELUTransform()]),
    t.PositivePowerTransform(1.7),
    t.ComposeTransform([t.AffineTransform(0.0, -1.0), t.PositivePowerTransform(0.4)]),
    t.KeepInside(constraints.open_interval(-1.0, 3.0)),
    t.TanhTransform().with_cache(),
]
# transform, length of the input vector, how to read the free coordinates of the output
VECTOR = [
    (t.StickBreakingTransform(), 3, lambda y: y[..., :-1]),
    (t.LowerCholeskyTransform(), 6, lambda y: ops.tril_to_vector(y, diagonal=0)),
    (t.CorrCholeskyTransform(), 6, lambda y: ops.tril_to_vector(y, diagonal=-1)),
    (t.IndependentTransform(t.ExpTransform(), 1), 4, lambda y: y),
    (t.ComposeTransform([t.AffineTransform(0.0, 2.0), t.StickBreakingTransform()]), 3, lambda y: y[..., :-1]),
    (
        t.ComposeTransform([t.LowerCholeskyTransform(), t.CholeskyProductTransform()]),
        6,
        lambda y: ops.tril_to_vector(y, diagonal=0),
    ),
    (t.IdentityTransform(constraints.real_vector), 3, lambda y: y),
    (t.LowerTriangularTransform(), 6, lambda y: ops.tril_to_vector(y, diagonal=0)),
    (t.SymmetricTransform(), 6, lambda y: ops.tril_to_vector(y, diagonal=0)),
    (t.UnitLowerCholeskyTransform(), 6, lambda y: ops.tril_to_vector(y, diagonal=-1)),
    (t.SoftplusLowerCholeskyTransform(), 6, lambda y: ops.tril_to_vector(y, diagonal=0)),
    (t.ScaledUnitLowerCholeskyTransform(), 6, lambda y: ops.tril_to_vector(y, diagonal=0)),
    (
        t.ComposeTransform([t.CorrCholeskyTransform(), t.CorrMatrixCholeskyTransform().inv]),
        6,
        lambda y: ops.tril_to_vector(y, diagonal=-1),
    ),
    (
        t.ComposeTransform([t.SoftplusLowerCholeskyTransform(), t.CholeskyTransform().inv]),
        6,
        lambda y: ops.tril_to_vector(y, diagonal=0),
    ),
    (t.OrderedTransform(), 4, lambda y: y),
    (t.PositiveOrderedTransform(), 4, lambda y: y),
    (t.ComposeTransform([t.OrderedTransform(), t.ExpTransform(constraints.ordered_vector)]), 4, lambda y: y),
    (t.ComposeTransform([t.StickBreakingTransform(), t.SimplexToOrderedTransform(0.7)]), 3, lambda y: y),
    (t.L1BallTransform(), 4, lambda y: y),
    (t.PermuteTransform([2, 0, 1, 3]), 4, lambda y: y),
    (t.DiscreteCosineTransform(), 5, lambda y: y),
    (t.DiscreteCosineTransform(smooth=0.7), 4, lambda y: y),
    (t.HaarTransform(), 7, lambda y: y),
    (t.HaarTransform(flip=True), 4, lambda y: y),
    (t.ReshapeTransform((6,), (3, 2)), 6, lambda y: ops.reshape(y, (*y.shape[:-2], 6))),
    (t.LowerCholeskyAffine([1.0, -2.0], [[2.0, 0.0], [0.5, -3.0]]), 2, lambda y: y),
    (t.CatTransform([t.PermuteTransform([1, 0]), t.OrderedTransform()], dim=-1, lengths=[2, 3]), 5, lambda y: y),
    (
        t.CatTransform([t.StickBreakingTransform(), t.OrderedTransform()], dim=-1, lengths=[2, 3]),
        5,
        lambda y: ops.concat([y[..., :2], y[..., 3:]], axis=-1),
    ),
    (
        t.IndependentTransform(t.CatTransform([t.ExpTransform(), t.AffineTransform(0.0, -3.0)], dim=-1, lengths=[2, 1]), 1),
        3,
        lambda y: y,
    ),
    (t.IndependentTransform(t.StackTransform([t.ExpTransform(), t.AffineTransform(0.0, -3.0)], dim=-1), 1), 2, lambda y: y),
]
VOLUME_PRESERVING = (t.IdentityTransform, t.LowerTriangularTransform, t.SymmetricTransform, t.UnitLowerCholeskyTransform,
                     t.PermuteTransform, t.ReshapeTransform, t.DiscreteCosineTransform, t.HaarTransform)  # fmt: skip
scalar = pytest.mark.parametrize("transform", SCALAR, ids=[f"{type(x).__name__}{i}" for i, x in enumerate(SCALAR)])
vector = pytest.mark.parametrize(
    ("transform", "size", "free"), VECTOR, ids=[f"{type(x[0]).__name__}{i}" for i, x in enumerate(VECTOR)]
)


@scalar
def test_scalar_round_trip_and_log_det(backend, transform, rng):
    x = ops.array(rng.uniform(0.2, 2.0, size=(3, 4)))
    y = transform(x)
    assert_close(transform.inv(y), to_host(x), rtol=1e-9)
    assert transform.forward_shape((3, 4)) == (3, 4) == transform.inverse_shape((3, 4))
    assert bool(ops.all(transform.codomain(y)))
    _, slope = ops.autodiff.jvp(transform, (x,), (ops.ones_like(x),))
    assert_close(transform.log_abs_det_jacobian(x, y), np.log(np.abs(to_host(slope))))
    assert_close(transform.inv.log_abs_det_jacobian(y, x), -np.log(np.abs(to_host(slope))))
    assert np.all(np.sign(to_host(slope)) == transform.sign)


@vector
def test_vector_round_trip_and_log_det(backend, transform, size, free, rng):
    x = rng.normal(size=(2, size))
    y = transform(ops.array(x))
    assert tuple(y.shape) == transform.forward_shape((2, size))
    assert tuple(transform.inverse_shape(tuple(y.shape))) == (2, size)
    assert bool(ops.all(transform.codomain(y)))
    assert_close(transform.inv(y), x, rtol=1e-8)
    log_det = to_host(transform.log_abs_det_jacobian(ops.array(x), y))
    assert log_det.shape == (2,)
    again, intermediates = transform.call_with_intermediates(ops.array(x))
    assert_close(again, to_host(y))
    assert_close(log_det_of(transform, ops.array(x), again, intermediates), log_det)
    assert_close(transform.inv.log_abs_det_jacobian(y, ops.array(x)), -log_det)
    for row in range(2):
        jacobian = to_host(ops.autodiff.jacobian(lambda v: free(transform(v)))(ops.array(x[row])))
        assert_close(log_det[row], np.linalg.slogdet(jacobian)[1])
        by_differences = numerical_jacobian(lambda v: free(transform(ops.array(v))), x[row])
        assert_close(jacobian, by_differences, rtol=1e-5, atol=1e-7)
    assert np.abs(log_det).max() > 1e-3 or isinstance(transform, VOLUME_PRESERVING)


def test_far_out_nothing_is_lost(backend):
    x = ops.array([-800.0, -40.0, 40.0, 800.0])
    sigmoid = t.SigmoidTransform()
    y = to_host(sigmoid(x))
    assert ((y > 0) & (y < 1)).all()
    assert np.isfinite(to_host(sigmoid.log_abs_det_jacobian(x, sigmoid(x)))).all()
    corner = ops.array([60.0, -60.0, 0.0])
    on_simplex = t.StickBreakingTransform()(corner)
    assert_close(ops.sum(on_simplex), 1.0)
    gradient = ops.autodiff.grad(lambda v: t.CorrCholeskyTransform().log_abs_det_jacobian(v, t.CorrCholeskyTransform()(v)))(
        corner
    )
    assert np.isfinite(to_host(gradient)).all()


CONSTRAINTS = [
    constraints.real, constraints.positive, constraints.nonnegative, constraints.unit_interval, constraints.greater_than(2.0),
    constraints.less_than(-1.0), constraints.interval(-2.0, 5.0), constraints.greater_than_eq(1.0),
]  # fmt: skip
VECTORS = [
    (constraints.simplex, 3), (constraints.real_vector, 3), (constraints.lower_cholesky, 6), (constraints.corr_cholesky, 6),
    (constraints.positive_definite, 6), (constraints.independent(constraints.positive, 1), 3),
    (constraints.independent(constraints.simplex, 1), 3),
]  # fmt: skip


@pytest.mark.parametrize("constraint", CONSTRAINTS, ids=repr)
@pytest.mark.parametrize("registry", [biject_to, transform_to], ids=repr)
def test_registry_reaches_scalars(backend, registry, constraint, rng):
    transform = registry(constraint)
    x = ops.array(rng.normal(size=(20,)) * 3)
    y = transform(x)
    assert to_host(constraint(y)).all()
    assert_close(transform.inv(y), to_host(x), rtol=1e-8)


@pytest.mark.parametrize(("constraint", "size"), VECTORS, ids=[repr(c) for c, _ in VECTORS])
def test_registry_reaches_vectors(backend, constraint, size, rng):
    x = rng.normal(size=(2, size))
    bijection = biject_to(constraint)
    assert bijection.bijective
    y = bijection(ops.array(x))
    assert to_host(constraint(y)).all()
    assert_close(bijection.inv(y), x, rtol=1e-8)
    assert to_host(constraint(transform_to(constraint)(ops.array(x)))).all()


def test_unknown_constraints_and_shapes_get_a_sentence(backend):
    with pytest.raises(NotImplementedError, match=r"biject_to\(boolean\).*discrete"):
        biject_to(constraints.boolean)
    with pytest.raises(ShapeError, match="5 free entries"):
        t.LowerCholeskyTransform().forward_shape((5,))
    with pytest.raises(NotImplementedError, match="log-determinant"):
        t.SoftmaxTransform().log_abs_det_jacobian(ops.zeros(3), ops.zeros(3))


def test_a_registered_constraint_is_reached(backend):
    class Negative(constraints.Constraint):
        def check(self, value):
            return value < 0

    biject_to.register(Negative, lambda constraint: t.ComposeTransform([t.ExpTransform(), t.AffineTransform(0.0, -1.0)]))
    assert float(biject_to(Negative())(ops.array(0.0))) == -1.0


def test_equality_and_inverse_of_inverse():
    exp = t.ExpTransform()
    assert exp.inv.inv is exp
    assert t.ExpTransform() == t.ExpTransform()
    assert t.AffineTransform(0.0, 1.0) == t.AffineTransform(0.0, 1.0)
    assert t.AffineTransform(0.0, 1.0) != t.AffineTransform(0.0, 2.0)
    assert t.ExpTransform() != t.SigmoidTransform()
    assert t.ComposeTransform([exp]) == t.ComposeTransform([t.ExpTransform()])


@pytest.mark.backends("torch")
def test_torchs_own_objects_are_understood(backend):
    from torch.distributions import constraints as theirs

    assert biject_to(theirs.positive) == t.ExpTransform()
    assert biject_to(theirs.simplex) == t.StickBreakingTransform()
    assert biject_to(theirs.unit_interval) == t.SigmoidTransform()
    y = biject_to(theirs.independent(theirs.interval(-1.0, 2.0), 1))(ops.zeros(3))
    assert_close(y, np.full(3, 0.5))
