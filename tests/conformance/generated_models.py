"""Random models as data: a generator for hypothesis, and how a model of it runs."""

from dataclasses import dataclass

import numpy
from hypothesis import settings
from hypothesis import strategies as st

import ppl
from ppl import constraints, ops, registry
from ppl import distributions as dist

KINDS = ("normal", "normal", "exponential", "categorical", "deterministic", "factor", "param")
LATENT = ("normal", "exponential", "categorical")


@dataclass(frozen=True)
class Site:
    """One site: what it is, the site its location depends on (or -1), the plates around it, and whether it has data."""

    kind: str
    parent: int
    plates: int
    observed: bool


@dataclass(frozen=True)
class Program:
    """A model: its sites in order, and the sizes of its two plates, the inner one last."""

    sites: tuple[Site, ...]
    sizes: tuple[int, int]

    def names(self, *kinds, observed=None):
        """Return the names of the sites of some kinds (default: every sample site, deterministic and factor sites too)."""
        return [
            f"s{index}"
            for index, site in enumerate(self.sites)
            if (site.kind in kinds if kinds else site.kind != "param") and (observed is None or site.observed == observed)
        ]

    @property
    def latent(self):
        """The names of the sites that are drawn."""
        return self.names(*LATENT, observed=False)

    def __call__(self):
        """Run the model."""
        values = []
        for index, site in enumerate(self.sites):
            values.append(self._enter(site.plates, index, site, values))
        return values[-1]

    def _enter(self, depth, index, site, values):
        if depth == 0:
            return _run(f"s{index}", site, self._location(site, values), (self.sizes[2 - site.plates :] if site.plates else ()))
        # The plates of one site are nested, the outer one with the dimension further left.
        with ppl.plate(f"p{depth}", self.sizes[-depth], dim=-depth):
            return self._enter(depth - 1, index, site, values)

    @staticmethod
    def _location(site, values):
        return 0.1 if site.parent < 0 else ops.mean(values[site.parent]) * 0.5


def data(name, shape):
    """Return the data of a site: fixed numbers in the open unit interval."""
    return numpy.linspace(0.2, 0.7, int(numpy.prod(shape, dtype=int))).reshape(shape) + 0.001 * int(name[1:])


def _run(name, site, location, shape):
    if site.kind == "param":
        return ppl.param(name, 0.5, constraint=constraints.positive) + 0.0 * location
    if site.kind == "deterministic":
        return ppl.deterministic(name, location + ops.zeros(shape))
    if site.kind == "factor":
        ppl.factor(name, -0.25 * location + ops.zeros(shape))
        return location + ops.zeros(())
    if site.kind == "normal":
        return ppl.sample(name, dist.Normal(location, 1.5), obs=data(name, shape) if site.observed else None)
    if site.kind == "exponential":
        family = dist.Exponential(1.0 + location**2)
        return ppl.sample(name, family, obs=data(name, shape) if site.observed else None)
    logits = location * ops.array([0.0, 1.0, -1.0])
    drawn = ppl.sample(name, dist.Categorical(logits=logits), obs=numpy.ones(shape, dtype=int) if site.observed else None)
    return 1.0 * drawn


def sparing():
    """Return whether models are of few shapes: jax compiles each operation for each shape anew, nearly all the time of a law.

    At night, when hypothesis explores new examples, they are of all shapes there too.
    """
    return registry.active().name == "jax" and settings.default.derandomize


def _sizes():
    """Return a strategy for the sizes of the two plates."""
    if sparing():
        return st.sampled_from([(2, 3), (1, 3)])
    return st.tuples(st.integers(1, 3), st.integers(1, 3))


@st.composite
def programs(draw, most=6):
    """Models of one to ``most`` sites."""
    count = draw(st.integers(1, most))
    sites = []
    for index in range(count):
        kind = draw(st.sampled_from(KINDS))
        parent = draw(st.integers(-1, index - 1))
        plates = 0 if kind == "param" else draw(st.integers(0, 2))
        sites.append(Site(kind, parent, plates, kind in LATENT and draw(st.booleans())))
    return Program(tuple(sites), draw(_sizes()))
