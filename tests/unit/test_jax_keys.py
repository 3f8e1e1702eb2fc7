"""The light keys of jax's long chains, and programs compiled beside other work."""

import numpy as np
import pytest
from scipy import stats

jax = pytest.importorskip("jax")
jit = pytest.importorskip("ppl_jax.jit")
pcg = pytest.importorskip("ppl_jax.pcg")

WORD = 2**32
DRAWS = 200_000
# Per test; each makes a handful of comparisons.
LEAST_P = 1e-6


def reference(words):
    """Return pcg4d of four ints, written from the paper in Python's own integers."""
    a, b, c, d = ((word * 1664525 + 1013904223) % WORD for word in words)
    for last in (False, True):
        a = (a + b * d) % WORD
        b = (b + c * a) % WORD
        c = (c + a * b) % WORD
        d = (d + b * c) % WORD
        if not last:
            a, b, c, d = (word ^ (word >> 16) for word in (a, b, c, d))
    return a, b, c, d


def key(seed=0):
    return jax.random.key(seed, impl=pcg.IMPLEMENTATION)


def chain_of_bits(steps, bits):
    """Return what a run draws: at each step a split, and bits of the second key."""

    def step(state, _):
        state, own = jax.random.split(state)
        return state, bits(own)

    return np.asarray(jax.lax.scan(step, key(), length=steps)[1])


def light_bits(own):
    return jax.random.bits(own, (64,), "uint32")


def counting_bits(own):
    """A bad generator: words that count up from the key's."""
    return jax.random.key_data(own)[0] + 2654435 * jax.numpy.arange(64, dtype="uint32")


def faults(words):
    """Return the names of the tests that a table of words, one row a step, fails."""
    flat = words.ravel()
    found = []
    for shift in (0, 8, 16, 24):
        counts = np.bincount((flat >> np.uint32(shift)) & np.uint32(255), minlength=256)
        if stats.chisquare(counts).pvalue < LEAST_P:
            found.append(f"bytes {shift}")
    for name, one, other in [("within", words[:, :-1], words[:, 1:]), ("between", words[:-1], words[1:])]:
        for shift in (28, 0):
            pairs = ((one >> np.uint32(shift)) & np.uint32(15)) * 16 + ((other >> np.uint32(shift)) & np.uint32(15))
            if stats.chisquare(np.bincount(pairs.ravel(), minlength=256)).pvalue < LEAST_P:
                found.append(f"pairs {name} {shift}")
        ones = np.bitwise_count(one ^ other).ravel().astype(float)
        if abs(ones.mean() - 16.0) > 4.9 * np.sqrt(8.0 / ones.size):
            found.append(f"flips {name}")
    return found


def test_the_hash_is_that_of_the_paper():
    generator = np.random.default_rng(0)
    rows = generator.integers(0, WORD, (20, 4), dtype=np.uint32)
    hashed = np.stack([np.asarray(words) for words in pcg.hash_words(*(jax.numpy.asarray(column) for column in rows.T))], axis=1)
    assert hashed.tolist() == [list(reference([int(word) for word in row])) for row in rows]


def test_words_of_a_chain_of_keys_pass_tests_of_randomness():
    assert faults(chain_of_bits(4000, light_bits)) == []


def test_a_counter_does_not_pass_them():
    assert {"pairs within 28", "flips within"} <= set(faults(chain_of_bits(4000, counting_bits)))


def test_uniforms_and_normals_follow_their_laws():
    uniforms = np.asarray(jax.random.uniform(key(1), (DRAWS,)))
    normals = np.asarray(jax.random.normal(key(2), (DRAWS,)))
    assert stats.kstest(uniforms, "uniform").pvalue > LEAST_P
    assert stats.kstest(normals, "norm").pvalue > LEAST_P
    assert stats.kstest(normals * 1.04, "norm").pvalue < LEAST_P


def test_split_fold_and_seed_give_different_keys():
    split = jax.random.key_data(jax.random.split(key(), 1000))
    folded = jax.random.key_data(jax.vmap(lambda word: jax.random.fold_in(key(), word))(jax.numpy.arange(1000)))
    seeded = jax.random.key_data(jax.vmap(lambda seed: key(seed))(jax.numpy.arange(1000)))
    rows = np.concatenate([np.asarray(part) for part in (split, folded, seeded)])
    assert rows.shape == (3000, 4)
    assert len(np.unique(rows, axis=0)) == 3000
    assert jax.random.split(key(), (2, 3)).shape == (2, 3)


@pytest.mark.parametrize("width", [8, 16, 32])
def test_bits_have_their_width(width):
    drawn = np.asarray(jax.random.bits(key(), (4096,), f"uint{width}"))
    assert drawn.dtype == f"uint{width}"
    assert stats.chisquare(np.bincount(drawn >> (width - 4), minlength=16)).pvalue > LEAST_P


def test_a_described_key_comes_back():
    from ppl_jax import random

    assert (jax.random.key_data(random.from_state(random.get_state(key(7)))) == jax.random.key_data(key(7))).all()


def test_a_program_compiled_ahead_serves_calls_of_its_shapes_alone():
    traced = []

    def double(x):
        traced.append(x.shape)
        return 2.0 * x

    call = jit.jit_on_cpu(double, jit.QUICK)
    call.prepare(lambda: (jax.numpy.zeros(3),))
    assert np.asarray(call(jax.numpy.arange(3.0))).tolist() == [0.0, 2.0, 4.0]
    assert traced == [(3,)]
    assert call.num_programs() == 1
    assert np.asarray(call(jax.numpy.arange(2.0))).tolist() == [0.0, 2.0]
    assert traced == [(3,), (2,)]
    assert float(jax.grad(lambda x: call(x).sum())(jax.numpy.ones(3)).sum()) == 6.0


def test_a_function_that_cannot_be_traced_ahead_says_so_at_its_call():
    def broken(x):
        raise ArithmeticError("broken")

    call = jit.jit_on_cpu(broken, jit.QUICK)
    call.prepare(lambda: (jax.numpy.zeros(3),))
    with pytest.raises(ArithmeticError, match="broken"):
        call(jax.numpy.zeros(3))
