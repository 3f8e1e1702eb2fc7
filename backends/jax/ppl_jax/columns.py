"""Matrices of data that a repeated step only multiplies with vectors, laid out by columns."""

import jax
from jax import lax
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

TALL = 8
"""How many times as many rows as columns such a matrix has at least: there both products gain."""


def by_columns(step, state, arguments):
    """Return ``step`` and ``arguments`` for use in a loop, where ``step(state, *arguments)`` means the same.

    A step of a regression multiplies its matrix with the coefficients, and the gradient with its matrix. By rows, as arrays come,
    the CPU's kernels for the two take three times as long as by columns (10000 rows of 20), so that a matrix without another
    use is turned once, before the loop. Other matrices, and other processors, keep their layout.
    """
    if jax.default_backend() != "cpu" or not any(_is_tall(leaf) for leaf in jax.tree.leaves(arguments)):
        return step, arguments
    closed, shapes = jax.make_jaxpr(step, return_shape=True)(state, *arguments)
    traced, fixed = closed.jaxpr, jax.tree.leaves(arguments)
    variables = traced.invars[len(traced.invars) - len(fixed) :]
    chosen = [
        (variable, _columns(leaf))
        for variable, leaf in zip(variables, fixed, strict=True)
        if _is_tall(leaf) and _only_meets_vectors(variable, traced)
    ]
    if not chosen:
        return step, arguments
    turned = jax.make_jaxpr(lambda *matrices: matrices)(*(matrix for _, matrix in chosen)).jaxpr.invars
    instead = {variable: other for (variable, _), other in zip(chosen, turned, strict=True)}
    equations = [_renamed(equation, instead) for equation in traced.eqns]
    rewritten = jaxpr_as_fun(ClosedJaxpr(traced.replace(invars=[*traced.invars, *turned], eqns=equations), closed.consts))

    def turned_step(state, *fixed):
        return jax.tree.unflatten(jax.tree.structure(shapes), rewritten(*jax.tree.leaves(state), *fixed))

    return turned_step, [*fixed, *(matrix for _, matrix in chosen)]


def _is_tall(leaf):
    shape = jax.numpy.shape(leaf)
    return len(shape) == 2 and shape[0] >= TALL * shape[1]


def _only_meets_vectors(variable, traced):
    """Return whether each use of a matrix is a product with a vector."""
    if any(variable is out for out in traced.outvars):
        return False
    uses = [equation for equation in traced.eqns if any(variable is operand for operand in equation.invars)]
    return bool(uses) and all(_is_product_with_vector(use) for use in uses)


def _is_product_with_vector(equation):
    if equation.primitive is not lax.dot_general_p or sum(operand.aval.ndim for operand in equation.invars) != 3:
        return False
    contracted, batch = equation.params["dimension_numbers"]
    return len(contracted[0]) == 1 and not batch[0]


def _columns(matrix):
    # As a vector, behind a barrier: else the compiler moves the transpose into each product, and what it gains is lost.
    return lax.optimization_barrier(matrix.T.reshape(-1)).reshape(matrix.shape[::-1])


def _renamed(equation, instead):
    """Return an equation of the turned matrices: a product names the other axis of one."""
    places = [place for place, operand in enumerate(equation.invars) if any(operand is matrix for matrix in instead)]
    if not places:
        return equation
    contracted, batch = equation.params["dimension_numbers"]
    contracted = tuple(tuple(1 - axis for axis in axes) if place in places else axes for place, axes in enumerate(contracted))
    operands = [instead[operand] if place in places else operand for place, operand in enumerate(equation.invars)]
    return equation.replace(invars=operands, params={**equation.params, "dimension_numbers": (contracted, batch)})
