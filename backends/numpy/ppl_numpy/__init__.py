"""The numpy backend: arrays are ``numpy.ndarray``, gradients come from HIPS autograd."""

from ppl.backend import Backend, Gap
from ppl_numpy import autodiff, compile, control, distributions, infer, linalg, nn, ops, optim, random, special

reasons = {
    "derivatives of an array": "an array does not know what it was computed from; try the loss as a function of the params",
    "neural network modules": "numpy has no library of them; try ppl.param for the weights, or the torch or jax backend",
    "gradient of qr with fewer rows than columns": "its formula inverts the triangular factor, which is not square then",
    "second derivative of a random draw": "the pathwise gradient of gamma, beta, dirichlet and standard_t draws is a constant",
}
gaps = {feature: Gap(reason, since="ppl 0.1") for feature, reason in reasons.items()}

backend = Backend(
    name="numpy",
    library="numpy",
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
