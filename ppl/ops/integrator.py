"""Velocity Verlet integration of Hamilton's equations for named sites (Neal 2011, sec. 2.3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ppl.errors import ShapeError
from ppl.ops import autodiff, linalg, shaping

Sites = dict[str, Any]


def velocity_verlet(
    z: Mapping[str, Any],
    r: Mapping[str, Any],
    potential_fn: Callable[[Sites], Any],
    inverse_mass_matrix: Any,
    step_size: Any,
    num_steps: int = 1,
    z_grads: Mapping[str, Any] | None = None,
) -> tuple[Sites, Sites, Sites, Any]:
    """Return positions, momenta, gradients and potential energy after steps of a second-order symplectic integrator.

    :param z: site to position.
    :param r: site to momentum, of the same shape.
    :param potential_fn: from such a dict of positions to the potential energy, a scalar.
    :param inverse_mass_matrix: ``(D,)`` or ``(D, D)`` for all sites in one vector, in the order of their sorted names; or a
        function from momenta to velocities, both dicts.
    :param step_size: time of one step; negative to go back.
    :param num_steps: how many steps.
    :param z_grads: gradient of the potential energy at ``z``, if it is known; else it is computed.
    :raises ShapeError: if the sites of ``z`` and ``r``, or the size of the matrix, do not fit.

    A unit of time about a harmonic oscillator at rest at one:

    >>> from ppl import ops
    >>> from ppl.ops.integrator import velocity_verlet
    >>> z, r = {"x": ops.array(1.0)}, {"x": ops.array(0.0)}
    >>> z, r, _, _ = velocity_verlet(z, r, lambda z: 0.5 * z["x"] ** 2, ops.ones(1), step_size=0.01, num_steps=100)
    >>> round(float(z["x"]), 3), round(float(r["x"]), 3)
    (0.54, -0.841)
    """
    position, momentum, gradient, energy = dict(z), dict(r), z_grads, None
    for _ in range(num_steps):
        position, momentum, gradient, energy = single_step_velocity_verlet(
            position, momentum, potential_fn, inverse_mass_matrix, step_size, gradient
        )
    if energy is None or gradient is None:
        energy, gradient = autodiff.value_and_grad(potential_fn)(position)
    return position, momentum, dict(gradient), energy


def single_step_velocity_verlet(
    z: Mapping[str, Any],
    r: Mapping[str, Any],
    potential_fn: Callable[[Sites], Any],
    inverse_mass_matrix: Any,
    step_size: Any,
    z_grads: Mapping[str, Any] | None = None,
) -> tuple[Sites, Sites, Sites, Any]:
    """Return what one step of :func:`velocity_verlet` does: half a kick, a drift, half a kick."""
    if set(z) != set(r):
        raise ShapeError(f"positions and momenta must have the same sites, got {sorted(z)} and {sorted(r)}")
    if z_grads is None:
        z_grads = autodiff.grad(potential_fn)(dict(z))
    momentum = {name: r[name] - 0.5 * step_size * z_grads[name] for name in r}
    velocity = _velocity(momentum, inverse_mass_matrix)
    position = {name: z[name] + step_size * velocity[name] for name in z}
    energy, gradient = autodiff.value_and_grad(potential_fn)(position)
    momentum = {name: momentum[name] - 0.5 * step_size * gradient[name] for name in momentum}
    return position, momentum, gradient, energy


def _velocity(momentum: Sites, inverse_mass_matrix: Any) -> Sites:
    """Return the velocity of each site.

    :raises ShapeError: if the matrix does not have the size of all momenta together.
    """
    if callable(inverse_mass_matrix):
        return inverse_mass_matrix(momentum)
    names = sorted(momentum)
    flat = shaping.concat([shaping.reshape(momentum[name], (-1,)) for name in names])
    shape, size = shaping.shape(inverse_mass_matrix), shaping.shape(flat)[0]
    if shape not in ((size,), (size, size)):
        raise ShapeError(
            f"the inverse mass matrix has shape {shape}, expected ({size},) or ({size}, {size}): the sites {', '.join(names)} "
            f"have {size} element(s) together"
        )
    velocity = inverse_mass_matrix * flat if len(shape) == 1 else linalg.matmul(inverse_mass_matrix, flat)
    result, start = {}, 0
    for name in names:
        site = shaping.shape(momentum[name])
        stop = start + shaping.shape(shaping.reshape(momentum[name], (-1,)))[0]
        result[name] = shaping.reshape(velocity[start:stop], site)
        start = stop
    return result
