"""Whether code runs inside a jax trace."""

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np

# Under ``vmap`` alone constants stay concrete, so only jax itself can tell; older versions cannot, and there a draw without a
# key inside a bare ``jax.vmap`` gives every lane the same numbers.
_under_vmap = getattr(jax.extend.core, "unsafe_am_i_under_a_vmap_DO_NOT_USE", lambda: False)
_ONE = np.ones((), np.float32)
_negative = jax.jit(jnp.negative)


def is_abstract():
    """Return whether constants become tracers here: under ``jit``, ``scan``, ``while_loop``, ``make_jaxpr``."""
    return isinstance(_negative(_ONE), jax.core.Tracer)


def is_tracing():
    """Return whether the caller runs under ``jit``, a ``lax`` loop or ``vmap``; ``grad`` and ``jvp`` alone do not count."""
    return _under_vmap() or is_abstract()
