"""The low-rank metric against explicit matrices, in samplers and on targets of many dimensions, on every backend."""

import itertools
import math
import os
import signal

import arviz
import numpy
import pytest
import scipy.stats

from ppl import infer, ops
from ppl.errors import PplWarning
from ppl.infer.mcmc import driver, kernels
from ppl.infer.mcmc.metrics import Automatic, Diagonal, LowRank, automatic
from ppl.infer.mcmc.progress import Progress
from ppl.infer.mcmc.state import Mass
from ppl.ops import random

MAX_Z = 4.9


def low_rank_covariance(size, stretches, seed=0):
    """A covariance with the given eigenvalues, else ones, in random directions; returned with the directions as columns."""
    directions = scipy.stats.ortho_group.rvs(size, random_state=seed)[:, : len(stretches)]
    return numpy.eye(size) + (directions * (numpy.array(stretches) - 1.0)) @ directions.T, directions


def mass_and_matrix(rng, size=7, used=3, spare=2):
    """A low-rank mass with unused directions, and the inverse mass that its definition gives."""
    scale = rng.uniform(0.1, 3.0, size=size)
    directions = scipy.stats.ortho_group.rvs(size, random_state=1)[:, :used]
    stretches = numpy.array([40.0, 0.02, 7.0])[:used]
    matrix = numpy.diag(scale) @ (numpy.eye(size) + (directions * (stretches - 1.0)) @ directions.T) @ numpy.diag(scale)
    rows = numpy.concatenate([(scale**2)[None], (scale[:, None] * directions).T, numpy.zeros((spare, size))])
    return Mass(ops.array(rows), ops.array(numpy.concatenate([stretches, numpy.ones(spare)]))), matrix


def log_normal(position, precision):
    return -0.5 * ops.sum(position * (precision @ position))


@pytest.mark.strict
def test_products_are_those_of_the_matrix(backend, rng):
    metric = LowRank()
    mass, inverse = mass_and_matrix(rng)
    vectors = rng.normal(size=(4, 7))
    velocity, norm = vectors @ inverse, numpy.einsum("ci,ij,cj->c", vectors, numpy.linalg.inv(inverse), vectors)
    close = {"rtol": 1e-10, "atol": 1e-10}
    numpy.testing.assert_allclose(ops.to_numpy(metric.velocity(mass, ops.array(vectors))), velocity, **close)
    energy = ops.to_numpy(metric.kinetic_energy(mass, ops.array(vectors)))
    numpy.testing.assert_allclose(energy, 0.5 * (vectors * velocity).sum(1), **close)
    numpy.testing.assert_allclose(ops.to_numpy(metric.squared_norm(mass, ops.array(vectors))), norm, **close)
    numpy.testing.assert_allclose(ops.to_numpy(metric.inverse_mass(mass)), inverse, **close)


@pytest.mark.strict
def test_momenta_are_normals_times_a_root_of_the_mass(backend, rng):
    """As many draws as dimensions tell the matrix that standard normals of the same key were multiplied with."""
    mass, inverse = mass_and_matrix(rng)
    normals = ops.to_numpy(random.normal(random.key(5), (7, 7)))
    root = numpy.linalg.solve(normals, ops.to_numpy(LowRank().draw(random.key(5), mass, (7, 7))))
    numpy.testing.assert_allclose(root.T @ root @ inverse, numpy.eye(7), atol=1e-10)


def test_variances_are_a_low_rank_metric_without_directions(backend, rng):
    variances, vectors = rng.uniform(0.5, 2.0, size=5), rng.normal(size=(3, 5))
    mass = LowRank(num_directions=2).from_inverse(ops.array(variances))
    assert tuple(ops.shape(mass.inverse)) == (3, 5)
    numpy.testing.assert_allclose(ops.to_numpy(LowRank().velocity(mass, ops.array(vectors))), vectors * variances, rtol=1e-14)
    unit = LowRank().identity(3)
    numpy.testing.assert_allclose(ops.to_numpy(LowRank().inverse_mass(unit)), numpy.eye(3), atol=0.0)


def test_the_metric_nobody_named(backend):
    assert isinstance(automatic(128), Automatic)
    assert isinstance(automatic(129), LowRank)
    assert isinstance(automatic(129, matrix=True), Automatic)


def test_inverse_mass_matrix_of_many_dimensions(backend):
    """A short warm-up finds strong directions; the documented attribute is the matrix itself."""
    covariance, directions = low_rank_covariance(130, [900.0, 400.0])
    precision = ops.array(numpy.linalg.inv(covariance))
    kernel = infer.NUTS(log_density_fn=lambda position: log_normal(position, precision), dimension=130, max_tree_depth=5)
    kernel.setup(100)
    params = kernel.initial_params
    for _ in range(100):
        params = kernel.sample(params)
    inverse = ops.to_numpy(kernel.inverse_mass_matrix)
    assert inverse.shape == (130, 130)
    numpy.testing.assert_allclose(inverse, inverse.T, rtol=1e-5, atol=1e-4)
    found = numpy.diag(directions.T @ inverse @ directions)
    assert (numpy.abs(numpy.log(found / [900.0, 400.0])) < math.log(4.0)).all()
    bulk = numpy.linalg.svd(directions.T)[2][2:]
    assert (numpy.abs(numpy.log(numpy.diag(bulk @ inverse @ bulk.T))) < math.log(5.0)).all()


def test_a_given_matrix_is_kept_in_many_dimensions(backend):
    covariance, _ = low_rank_covariance(130, [9.0])
    kernel = infer.HMC(log_density_fn=lambda x: -0.5 * ops.sum(x * x), dimension=130, initial_inverse_mass=covariance)
    kernel.setup(0)
    numpy.testing.assert_allclose(ops.to_numpy(kernel.inverse_mass_matrix), covariance, rtol=1e-5, atol=1e-5)


def go_on_or_begin(path, kernel, data, **options):
    if path.exists():
        return infer.MCMC.resume(path, kernel, data, progress_bar=False)
    return infer.MCMC(kernel, 10, 50, 2, progress_bar=False, seed=2, checkpoint=path, **options).run(data)


def test_continued_run_of_a_low_rank_metric_is_the_whole_run(backend, tmp_path, monkeypatch):
    """Stopped before and after its metric has been estimated for the first time."""
    monkeypatch.setattr(driver, "LARGEST_CHUNK", 6)
    precision = ops.array(numpy.linalg.inv(low_rank_covariance(130, [300.0, 0.01])[0]))
    kernel = infer.NUTS(log_density_fn=log_normal, dimension=130, max_tree_depth=3)
    whole = go_on_or_begin(tmp_path / "whole", kernel, precision).get_samples()["position"]
    for stop in (1, 4):
        chunks = itertools.count(1)

        def update(self, count, draws, warming_up, chunks=chunks, stop=stop):
            if next(chunks) == stop:
                os.kill(os.getpid(), signal.SIGINT)

        with monkeypatch.context() as patched:
            patched.setattr(Progress, "update", update)
            with pytest.warns(PplWarning, match="interrupted"):
                go_on_or_begin(tmp_path / "parts", kernel, precision)
    resumed = go_on_or_begin(tmp_path / "parts", kernel, precision)
    numpy.testing.assert_array_equal(numpy.asarray(resumed.get_samples()["position"]), numpy.asarray(whole))


# Many dimensions, in which the diagonal metric is lost

STRETCHES = [1000.0, 700.0, 500.0, 300.0, 200.0]


def draws_along(mcmc, directions):
    return numpy.asarray(mcmc.get_samples(group_by_chain=True)["position"], dtype="float64") @ directions


@pytest.mark.nightly
@pytest.mark.parametrize("kind", [infer.NUTS, lambda **target: infer.HMC(trajectory_length=2.0, jitter=True, **target)])
def test_moments_of_a_normal_of_two_hundred_dimensions(backend, kind):
    covariance, _ = low_rank_covariance(200, STRETCHES)
    axes = numpy.linalg.eigh(covariance)[1]
    kernel = kind(log_density_fn=log_normal, dimension=200)
    mcmc = infer.MCMC(kernel, 500, 300, 4, progress_bar=False, seed=4).run(ops.array(numpy.linalg.inv(covariance)))
    for index in (-1, -2, -3, -4, -5, 0, 100):
        draws = draws_along(mcmc, axes[:, index])
        scale = math.sqrt(numpy.linalg.eigvalsh(covariance)[index])
        of_mean = float(arviz.mcse(draws, method="mean"))
        of_square = float(arviz.mcse(draws**2, method="mean"))
        assert of_mean < 0.1 * scale
        assert of_square < 0.15 * scale**2
        assert abs(draws.mean()) < MAX_Z * of_mean
        assert abs((draws**2).mean() - scale**2) < MAX_Z * of_square
        # Control: wrong moments are told from the right ones.
        assert abs(draws.mean() - 0.6 * scale) > MAX_Z * of_mean
        assert abs((draws**2).mean() - 2.0 * scale**2) > MAX_Z * of_square


@pytest.mark.nightly
def test_draws_for_a_gradient_against_a_diagonal_metric(backend, monkeypatch):
    covariance, directions = low_rank_covariance(200, STRETCHES)
    precision = ops.array(numpy.linalg.inv(covariance))
    found = []
    for choose in (automatic, lambda size, matrix=False: Diagonal()):
        monkeypatch.setattr(kernels, "automatic", choose)
        kernel = infer.NUTS(log_density_fn=log_normal, dimension=200)
        mcmc = infer.MCMC(kernel, 250, 250, 2, progress_bar=False, seed=4).run(precision)
        ess = min(float(arviz.ess(draws_along(mcmc, direction))) for direction in directions.T)
        found.append(ess / mcmc.get_extra_fields()["num_leapfrog_steps"].sum())
    assert found[0] > 20.0 * found[1]
