"""The jax backend: ``jax.numpy`` arrays, explicit typed keys, ``jit`` and ``lax`` control flow."""

from ppl.backend import Backend, Gap
from ppl_jax import autodiff, compile, control, distributions, infer, linalg, nn, ops, optim, random, special

reasons = {
    "derivatives of an array": "an array does not know what it was computed from; try the loss as a function of the params",
    "subnormal numbers": "XLA takes numbers below the smallest normal one for zero on the CPU",
}
gaps = {feature: Gap(reason, since="ppl 0.1") for feature, reason in reasons.items()}

backend = Backend(
    name="jax",
    library="jax",
    ops=ops,
    special=special,
    linalg=linalg,
    random=random,
    autodiff=autodiff,
    compile=compile,
    control=control,
    distributions=distributions,
    optim=optim,
    infer=infer,
    nn=nn,
    gaps=gaps,
)
