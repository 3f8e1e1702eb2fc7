"""Rows of the structured families."""

import itertools

import numpy as np
from scipy import special, stats

from cases.oracles import multivariate_normal
from ppl import distributions as dist
from ppl.testing.case import Case

LEVELS, SPREAD, LENGTH = np.array([0.0, 3.0]), 0.8, 3
INITIAL, NOISE, ERROR = np.array([1.2, 0.5]), np.array([0.7, 1.1]), 0.6


def discrete_hmm(initial_logits, transition_logits, **options):
    observed = dist.Normal(LEVELS[None], SPREAD, **options)
    return dist.DiscreteHMM(initial_logits, transition_logits, observed, duration=LENGTH, **options)


class SumOverPaths:
    """The series of a hidden Markov chain as the mixture over all its paths."""

    def __init__(self, initial_logits, transition_logits):
        self.initial = special.softmax(initial_logits)
        self.moves = special.softmax(transition_logits, axis=-1)
        self.paths = np.array(list(itertools.product(range(len(LEVELS)), repeat=LENGTH + 1)))
        self.weights = self.initial[self.paths[:, 0]].copy()
        for step in range(LENGTH):
            self.weights *= self.moves[step % len(self.moves)][self.paths[:, step], self.paths[:, step + 1]]

    def rvs(self, size, random_state):
        drawn = self.paths[random_state.choice(len(self.paths), size=size, p=self.weights), 1:]
        return LEVELS[drawn] + SPREAD * random_state.normal(size=drawn.shape)

    def logpdf(self, value):
        each = stats.norm.logpdf(np.asarray(value)[..., None, :], LEVELS[self.paths[:, 1:]], SPREAD).sum(-1)
        with np.errstate(divide="ignore"):
            return special.logsumexp(each + np.log(self.weights), axis=-1)

    def mean(self):
        return self.weights @ LEVELS[self.paths[:, 1:]]


def gaussian_hmm(transition_matrix, observation_matrix, **options):
    initial, noise = (dist.Normal(np.zeros(2), scale).to_event(1) for scale in (INITIAL, NOISE))
    error = dist.Normal(np.zeros(1), ERROR).to_event(1)
    return dist.GaussianHMM(initial, transition_matrix, noise, observation_matrix, error, duration=LENGTH, **options)


class JointNormal:
    """The series of a linear Gaussian chain as one normal vector."""

    def __init__(self, transition_matrix, observation_matrix):
        # Rows: what each step's observation takes from the first state, from all pushes, and from all errors.
        move, lens = transition_matrix[0], observation_matrix[0][:, 0]
        factor = np.zeros((LENGTH, 2 + 3 * LENGTH))
        for step in range(LENGTH):
            reached = lens
            for earlier in range(step, -1, -1):
                factor[step, 2 + 2 * earlier : 4 + 2 * earlier] = NOISE * reached
                reached = move @ reached
            factor[step, :2] = INITIAL * reached
            factor[step, 2 + 2 * LENGTH + step] = ERROR
        self.normal = multivariate_normal(loc=np.zeros(LENGTH), covariance_matrix=factor @ factor.T)

    def rvs(self, size, random_state):
        return self.normal.rvs(size=size, random_state=random_state).reshape(*np.atleast_1d(size), LENGTH, 1)

    def logpdf(self, value):
        return self.normal.logpdf(np.asarray(value)[..., 0])

    def mean(self):
        return np.zeros((LENGTH, 1))

    def var(self):
        return self.normal.var()[:, None]


def first_of_chain(transition_matrix, observation_matrix):
    return stats.norm(0.0, np.sqrt(JointNormal(transition_matrix, observation_matrix).var()[0, 0]))


CASES = [
    Case("DiscreteHMM", {"initial_logits": [0.3, -0.4], "transition_logits": [[[1.0, -0.5], [0.2, 0.9]]]}, SumOverPaths, (), (3,),
         make=discrete_hmm),
    Case("GaussianHMM", {"transition_matrix": [[[0.7, -0.2], [0.4, 0.9]]], "observation_matrix": [[[1.0], [-0.6]]]}, JointNormal,
         (), (3, 1), marginal=first_of_chain, extremes={"transition_matrix": (), "observation_matrix": ()}, make=gaussian_hmm),
]  # fmt: skip
