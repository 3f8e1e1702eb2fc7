"""Random draws.

A *key* is the source of randomness. On jax it is a typed key (``jax.random.key``) and every draw must get a fresh one; on torch
it is a ``torch.Generator`` or ``None`` for the global one; on numpy a ``numpy.random.Generator`` or ``None`` for the current
scope's. ``split`` and ``fold_in`` give new keys on jax and hand the same generator back elsewhere, so shared code is written as
jax needs it. ``key=None`` on jax takes the next key of the process-wide stream (see :func:`next_key`). ``shape`` is the full
shape of the result; parameters broadcast to it. ``dtype=None`` is the default floating dtype.
"""

from ppl.ops.dispatch import dispatched


@dispatched("random")
def key(seed):
    """Return a fresh key from an int seed (or return ``seed`` if it is a key already).

    >>> from ppl import ops
    >>> ops.random.is_key(ops.random.key(0))
    True
    """


@dispatched("random")
def is_key(value):
    """Return whether ``value`` is a key of this backend (``None`` is not).

    >>> from ppl import ops
    >>> ops.random.is_key(None)
    False
    """


@dispatched("random")
def split(key, num=2):
    """Return a list of ``num`` independent keys.

    >>> from ppl import ops
    >>> len(ops.random.split(ops.random.key(0), 3))
    3
    """


@dispatched("random")
def fold_in(key, data):
    """Return a key that depends on ``key`` and the int or str ``data`` (a str by a stable hash).

    >>> from ppl import ops
    >>> ops.random.is_key(ops.random.fold_in(ops.random.key(0), "site"))
    True
    """


@dispatched("random")
def next_key(site=None):
    """Return the next key of the process-wide stream: ``None`` on torch and numpy.

    :param site: the name to show in the error.
    :raises RandomKeyError: inside a jax trace, where the stream must not be used."""


@dispatched("random")
def set_rng_seed(seed):
    """Seed everything the backend draws from; Python's and numpy's global generators are seeded by the caller."""


@dispatched("random")
def scope(seed):
    """Return a context manager inside which draws without a key come from ``seed`` (an int, a key or a state); on leaving,
    the outer state is restored.

    >>> from ppl import ops
    >>> with ops.random.scope(0):
    ...     first = ops.random.normal(None, (2,))
    >>> with ops.random.scope(0):
    ...     bool(ops.all(first == ops.random.normal(None, (2,))))
    True
    """


@dispatched("random")
def get_state(key=None):
    """Return the state of a key, or of the process-wide stream, as a tree of numpy arrays, ints and strings."""


@dispatched("random")
def from_state(state):
    """Return the key that :func:`get_state` described.

    >>> from ppl import ops
    >>> key = ops.random.key(0)
    >>> copy = ops.random.from_state(ops.random.get_state(key))
    >>> bool(ops.all(ops.random.normal(key, (2,)) == ops.random.normal(copy, (2,))))
    True
    """


@dispatched("random")
def set_state(state):
    """Restore the process-wide stream.

    >>> from ppl import ops
    >>> state = ops.random.get_state()
    >>> first = ops.random.normal(None, (2,))
    >>> ops.random.set_state(state)
    >>> bool(ops.all(first == ops.random.normal(None, (2,))))
    True
    """


@dispatched("random")
def normal(key, shape, dtype=None):
    """Draw standard normals.

    >>> from ppl import ops
    >>> tuple(ops.random.normal(ops.random.key(0), (2, 3)).shape)
    (2, 3)
    """


@dispatched("random")
def uniform(key, shape, dtype=None):
    """Draw uniforms on [0, 1).

    >>> from ppl import ops
    >>> draws = ops.random.uniform(ops.random.key(0), (100,))
    >>> bool(ops.all((draws >= 0.0) & (draws < 1.0)))
    True
    """


@dispatched("random")
def open_uniform(key, shape, dtype=None):
    """Draw uniforms on the open interval (0, 1): safe to take logarithms of ``u`` and ``1 - u``.

    >>> from ppl import ops
    >>> tuple(ops.random.open_uniform(ops.random.key(0), (3,)).shape)
    (3,)
    """


@dispatched("random")
def exponential(key, shape, dtype=None):
    """Draw standard exponentials.

    >>> from ppl import ops
    >>> tuple(ops.random.exponential(ops.random.key(0), (3,)).shape)
    (3,)
    """


@dispatched("random")
def randint(key, shape, low, high):
    """Draw integers in ``[low, high)``.

    >>> from ppl import ops
    >>> [int(x) for x in ops.random.randint(ops.random.key(0), (3,), 5, 6)]
    [5, 5, 5]
    """


@dispatched("random")
def bernoulli(key, probs, shape):
    """Draw 0.0 or 1.0 in the dtype of ``probs``.

    >>> from ppl import ops
    >>> [float(x) for x in ops.random.bernoulli(ops.random.key(0), ops.array([0.0, 1.0]), (2,))]
    [0.0, 1.0]
    """


@dispatched("random")
def gamma(key, concentration, shape):
    """Draw gammas of rate one; the pathwise gradient in ``concentration`` is right.

    >>> from ppl import ops
    >>> tuple(ops.random.gamma(ops.random.key(0), ops.array([1.0, 2.0]), (3, 2)).shape)
    (3, 2)
    """


@dispatched("random")
def beta(key, concentration1, concentration0, shape):
    """Draw betas; the pathwise gradients in both concentrations are right.

    >>> from ppl import ops
    >>> tuple(ops.random.beta(ops.random.key(0), ops.array(2.0), ops.array([1.0, 3.0]), (2,)).shape)
    (2,)
    """


@dispatched("random")
def dirichlet(key, concentration, shape):
    """Draw points of the simplex; ``shape`` includes the event axis; pathwise gradients are right.

    >>> from ppl import ops
    >>> tuple(ops.random.dirichlet(ops.random.key(0), ops.array([1.0, 2.0, 3.0]), (4, 3)).shape)
    (4, 3)
    """


@dispatched("random")
def standard_t(key, df, shape):
    """Draw Student's t of location 0 and scale 1; the pathwise gradient in ``df`` is right.

    >>> from ppl import ops
    >>> tuple(ops.random.standard_t(ops.random.key(0), ops.array(4.0), (3,)).shape)
    (3,)
    """


@dispatched("random")
def poisson(key, rate, shape):
    """Draw Poisson counts in the dtype of ``rate``.

    >>> from ppl import ops
    >>> tuple(ops.random.poisson(ops.random.key(0), ops.array(3.0), (2,)).shape)
    (2,)
    """


@dispatched("random")
def binomial(key, total_count, probs, shape):
    """Draw binomial counts in the dtype of ``probs``; ``total_count`` may be an array.

    >>> from ppl import ops
    >>> tuple(ops.random.binomial(ops.random.key(0), ops.array(5.0), ops.array(0.5), (2,)).shape)
    (2,)
    """


@dispatched("random")
def categorical(key, logits, shape):
    """Draw indices (the library's integer dtype) along the last axis of ``logits``; ``shape`` is the result's,
    without that axis.

    >>> from ppl import ops
    >>> tuple(ops.random.categorical(ops.random.key(0), ops.zeros((4, 3)), (4,)).shape)
    (4,)
    """


@dispatched("random")
def permutation(key, n):
    """Return a random permutation of ``range(n)``.

    >>> from ppl import ops
    >>> sorted(int(index) for index in ops.random.permutation(ops.random.key(0), 3))
    [0, 1, 2]
    """


@dispatched("random")
def choice(key, n, size):
    """Draw ``size`` distinct indices of ``range(n)`` in O(size) expected work where the library can.

    >>> from ppl import ops
    >>> len({int(index) for index in ops.random.choice(ops.random.key(0), 100, 10)})
    10
    """
