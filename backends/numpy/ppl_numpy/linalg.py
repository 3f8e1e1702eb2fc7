"""Linear algebra over numpy and LAPACK, batched, with derivatives written in differentiable operations."""

import math

import autograd.numpy as anp
import numpy as np
import scipy.linalg
from autograd.extend import defvjp, defvjp_argnum

from ppl.errors import GapError
from ppl_numpy import rules
from ppl_numpy.ops import broadcast_to, diag_embed, diagonal, expand_dims, matrix_transpose, shape, sum, tril, triu
from ppl_numpy.primitives import primitive, unbroadcast

_matmul = primitive(np.matmul)


def _matmul_vjp(argnum):
    def make(ans, x1, x2):
        shapes = (shape(x1), shape(x2))

        def vjp(g):
            left = x1 if len(shapes[0]) > 1 else expand_dims(x1, 0)
            right = x2 if len(shapes[1]) > 1 else expand_dims(x2, -1)
            wide = g if len(shapes[1]) > 1 else expand_dims(g, -1)
            wide = wide if len(shapes[0]) > 1 else expand_dims(wide, -2)
            if argnum == 0:
                product = _matmul(wide, matrix_transpose(right))
                return anp.reshape(unbroadcast(product, shapes[0] if len(shapes[0]) > 1 else (1, *shapes[0])), shapes[0])
            product = _matmul(matrix_transpose(left), wide)
            return anp.reshape(unbroadcast(product, shapes[1] if len(shapes[1]) > 1 else (*shapes[1], 1)), shapes[1])

        return vjp

    return make


defvjp(_matmul, _matmul_vjp(0), _matmul_vjp(1))


def matmul(x1, x2):
    return _matmul(x1, x2)


_einsum = primitive(lambda equation, *operands: np.einsum(equation, *operands, optimize=len(operands) > 2), rules.contraction)


def _letters(equation, operands):
    """Return the input and output subscripts with ellipses written out as capital Greek letters."""
    inputs, arrow, output = equation.replace(" ", "").partition("->")
    inputs = inputs.split(",")
    widths = [len(shape(x)) - len(term.replace("...", "")) for term, x in zip(inputs, operands, strict=True)]
    hidden = "".join(
        chr(0x391 + i) for i in range(max((w for w, t in zip(widths, inputs, strict=True) if "..." in t), default=0))
    )
    spelled = [term.replace("...", hidden[len(hidden) - width :]) for term, width in zip(inputs, widths, strict=True)]
    if not arrow:
        joined = "".join(spelled)
        output = ("..." if hidden else "") + "".join(sorted(c for c in set(joined) - set(hidden) if joined.count(c) == 1))
    return spelled, output.replace("...", hidden)


def _numbered(terms, output):
    """Spell subscripts in Latin letters, which is all that numpy reads."""
    alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    names = {letter: alphabet[i] for i, letter in enumerate(dict.fromkeys("".join(terms) + output))}
    return ",".join("".join(names[c] for c in term) for term in terms) + "->" + "".join(names[c] for c in output)


def _einsum_vjp(argnum, ans, args, kwargs):
    operands, position = args[1:], argnum - 1
    terms, output = _letters(args[0], operands)
    size = shape(operands[position])
    rest = [(term, x) for i, (term, x) in enumerate(zip(terms, operands, strict=True)) if i != position]
    target, extra = "", []
    for axis, letter in enumerate(terms[position]):
        fresh = chr(0x400 + axis) if letter in target else letter
        if fresh != letter:  # a repeated subscript reads the diagonal: its gradient is spread along the diagonal
            extra.append((letter + fresh, np.eye(size[axis])))
        elif letter not in output and not any(letter in term for term, _ in rest):
            extra.append((letter, np.ones(size[axis])))
        target += fresh
    inputs = [term for term, _ in rest + extra]
    equation = _numbered([output, *inputs], target)
    return lambda g: broadcast_to(unbroadcast(_einsum(equation, g, *(x for _, x in rest + extra)), size), size)


defvjp_argnum(_einsum, _einsum_vjp)


def einsum(equation, *operands):
    return _einsum(equation, *operands)


def vecdot(x1, x2):
    return sum(anp.multiply(x1, x2), axis=-1)


def outer(x1, x2):
    return expand_dims(x1, -1) * expand_dims(x2, -2)


def trace(x):
    return sum(diagonal(x), axis=-1)


def _transpose(x):
    return matrix_transpose(x)


def _factor(x):
    """Return Cholesky factors; where invalid operations are let pass, NaN for a matrix that is not positive definite."""
    try:
        return np.linalg.cholesky(x)
    except np.linalg.LinAlgError:
        if np.geterr()["invalid"] != "ignore":
            raise
        if np.ndim(x) == 2:
            return np.full_like(x, np.nan)
        return np.stack([_factor(matrix) for matrix in x])


_cholesky = primitive(_factor, rules.matrices)


def _cholesky_vjp(ans, x):
    """Reverse rule ``S = L^-T phi(L^T g) L^-1``, symmetrized (Murray 2016, section 3)."""

    def vjp(g):
        inner = tril(matmul(_transpose(ans), g))
        inner = inner - 0.5 * diag_embed(diagonal(inner))
        middle = solve_triangular(ans, inner, transpose=True)
        adjoint = _transpose(solve_triangular(ans, _transpose(middle), transpose=True))
        return 0.5 * (adjoint + _transpose(adjoint))

    return vjp


defvjp(_cholesky, _cholesky_vjp)


def cholesky(x):
    return _cholesky(x)


def _broadcast_batches(a, b):
    batch = np.broadcast_shapes(np.shape(a)[:-2], np.shape(b)[:-2])
    return np.broadcast_to(a, batch + np.shape(a)[-2:]), np.broadcast_to(b, batch + np.shape(b)[-2:])


_solve = primitive(lambda a, b: np.linalg.solve(*_broadcast_batches(a, b)), rules.matrices)
defvjp(
    _solve,
    lambda ans, a, b: lambda g: unbroadcast(-matmul(solve(_transpose(a), g), _transpose(ans)), shape(a)),
    lambda ans, a, b: lambda g: unbroadcast(solve(_transpose(a), g), shape(b)),
)


def solve(a, b):
    return _solve(a, b)


def _solve_triangular_plain(a, b, lower, transpose):
    a, b = np.asarray(a), np.asarray(b)
    if a.ndim == b.ndim == 2:
        return _one_triangle(a, b, lower, transpose)
    if a.ndim == 2:
        columns = np.moveaxis(b, -2, 0)
        return np.moveaxis(_one_triangle(a, columns.reshape(a.shape[-1], -1), lower, transpose).reshape(columns.shape), 0, -2)
    a, b = _broadcast_batches(a, b)
    if a.size and not any(a.strides[:-2]):
        # One matrix, seen as a batch through broadcasting.
        return _solve_triangular_plain(a[(0,) * (a.ndim - 2)], b, lower, transpose)
    out = np.empty(b.shape, np.result_type(a, b, np.float32))
    if math.prod(b.shape[:-2]) > MANY_SYSTEMS_PER_ROW * a.shape[-1]:
        return _substitute(np.swapaxes(a, -1, -2) if transpose else a, b, lower != transpose, out)
    for i in np.ndindex(b.shape[:-2]):
        out[i] = _one_triangle(a[i], b[i], lower, transpose)
    return out


# From here on, a Python loop over the rows of all systems at once takes less time than one over the systems.
MANY_SYSTEMS_PER_ROW = 2


def _substitute(a, b, lower, out):
    """Solve many small triangular systems row by row, into ``out``."""
    n = a.shape[-1]
    for row in range(n) if lower else reversed(range(n)):
        known = slice(0, row) if lower else slice(row + 1, n)
        rest = b[..., row, :] - np.matmul(a[..., row, None, known], out[..., known, :])[..., 0, :]
        out[..., row, :] = rest / a[..., row, row, None]
    return out


def _one_triangle(a, b, lower, transpose):
    if b.size == 0:
        return np.array(b)
    try:
        return scipy.linalg.solve_triangular(a, b, trans=1 if transpose else 0, lower=lower, check_finite=False)
    except np.linalg.LinAlgError:
        # A zero on the diagonal is no error on other libraries: what is divided by it is infinite or NaN.
        with np.errstate(all="ignore"):
            matrix = np.swapaxes(a, -1, -2) if transpose else a
            return _substitute(matrix, b, lower != transpose, np.empty(b.shape, np.result_type(a, b, np.float32)))


_solve_triangular = primitive(_solve_triangular_plain, rules.matrices)


def _triangular_vjp_a(ans, a, b, lower, transpose):
    triangle = tril if lower else triu

    def vjp(g):
        back = _solve_triangular(a, g, lower, not transpose)
        product = matmul(ans, _transpose(back)) if transpose else matmul(back, _transpose(ans))
        return -triangle(unbroadcast(product, shape(a)))

    return vjp


defvjp(
    _solve_triangular,
    _triangular_vjp_a,
    lambda ans, a, b, lower, transpose: lambda g: unbroadcast(_solve_triangular(a, g, lower, not transpose), shape(b)),
)


def solve_triangular(a, b, lower=True, transpose=False):
    return _solve_triangular(a, b, lower, transpose)


def cholesky_solve(factor, b):
    return solve_triangular(factor, solve_triangular(factor, b), transpose=True)


_inv = primitive(np.linalg.inv, rules.matrices)
defvjp(_inv, lambda ans, x: lambda g: -matmul(matmul(_transpose(ans), g), _transpose(ans)))


def inv(x):
    return _inv(x)


_det = primitive(np.linalg.det, rules.matrices)


def _wide(g):
    return expand_dims(expand_dims(g, -1), -1)


def _cofactor(x):
    """Return the matrix of cofactors, from the singular value decomposition so that singular matrices are right."""
    u, s, vh = np.linalg.svd(x)
    n = s.shape[-1]
    others = np.stack([np.prod(np.delete(s, i, axis=-1), axis=-1) for i in range(n)], axis=-1)
    return _wide(np.linalg.det(u) * np.linalg.det(vh)) * np.matmul(u * others[..., None, :], vh)


cofactor = primitive(_cofactor, rules.matrices)


def _cofactor_vjp(ans, x):
    def vjp(g):
        inverse = inv(x)
        back = _transpose(inverse)
        return _wide(sum(g * ans, axis=(-2, -1))) * back - matmul(matmul(back, _transpose(g)), ans)

    return vjp


defvjp(cofactor, _cofactor_vjp)
defvjp(_det, lambda ans, x: lambda g: _wide(g) * cofactor(x))


def det(x):
    return _det(x)


_logabsdet = primitive(lambda x: np.linalg.slogdet(x)[1], rules.matrices)
_sign_det = primitive(lambda x: np.linalg.slogdet(x)[0], rules.matrices)
defvjp(_logabsdet, lambda ans, x: lambda g: _wide(g) * _transpose(inv(x)))
defvjp(_sign_det, None)


def slogdet(x):
    return _sign_det(x), _logabsdet(x)


_eigh = primitive(lambda x: tuple(np.linalg.eigh(x)), rules.matrices)


def _differences(values):
    """Return ``1 / (values[j] - values[i])`` off the diagonal, and zero on it and where two values are equal."""
    gap = expand_dims(values, -2) - expand_dims(values, -1)
    equal = anp.equal(gap, 0)
    return anp.logical_not(equal) / (gap + equal)


def _eigh_vjp(ans, x):
    values, vectors = ans

    def vjp(g):
        g_values, g_vectors = g
        inner = _differences(values) * matmul(_transpose(vectors), g_vectors) + diag_embed(g_values)
        adjoint = matmul(matmul(vectors, inner), _transpose(vectors))
        return 0.5 * (adjoint + _transpose(adjoint))

    return vjp


defvjp(_eigh, _eigh_vjp)


def eigh(x):
    pair = _eigh(x)
    return pair[0], pair[1]


_qr = primitive(lambda x: tuple(np.linalg.qr(x)), rules.matrices)


def _qr_vjp(ans, x):
    """Reverse rule of the reduced factors for at least as many rows as columns (Walter and Lehmann 2012)."""
    q, r = ans
    rows, columns = shape(x)[-2:]
    if rows < columns:
        raise GapError(
            "gradient of qr with fewer rows than columns is not available on backend 'numpy': its formula inverts the triangular "
            f"factor, which is not square then; got shape {shape(x)}"
        )

    def vjp(g):
        g_q, g_r = g
        m = matmul(r, _transpose(g_r)) - matmul(_transpose(g_q), q)
        lower = tril(m, -1)
        symmetric = lower + _transpose(lower) + diag_embed(diagonal(m))
        return _transpose(solve_triangular(r, _transpose(g_q + matmul(q, symmetric)), lower=False))

    return vjp


defvjp(_qr, _qr_vjp)


def qr(x):
    pair = _qr(x)
    return pair[0], pair[1]


_svd = primitive(lambda x: tuple(np.linalg.svd(x, full_matrices=False)), rules.matrices)


def _svd_vjp(ans, x):
    """Reverse rule of the reduced decomposition (Townsend 2016)."""
    u, s, vh = ans

    def vjp(g):
        g_u, g_s, g_vh = g
        v, g_v = _transpose(vh), _transpose(g_vh)
        gaps = _differences(s * s)
        row, column = expand_dims(s, -2), expand_dims(s, -1)
        u_part, v_part = matmul(_transpose(u), g_u), matmul(_transpose(v), g_v)
        inner = gaps * (u_part - _transpose(u_part)) * row + column * gaps * (v_part - _transpose(v_part)) + diag_embed(g_s)
        outside_u = (g_u - matmul(u, u_part)) / row
        outside_v = (g_v - matmul(v, v_part)) / row
        return matmul(matmul(u, inner), vh) + matmul(outside_u, vh) + matmul(u, _transpose(outside_v))

    return vjp


defvjp(_svd, _svd_vjp)


def svd(x):
    triple = _svd(x)
    return triple[0], triple[1], triple[2]
