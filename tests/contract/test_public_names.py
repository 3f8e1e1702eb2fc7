"""The documented names stand at the documented paths."""

import importlib
from pathlib import Path

import pytest

PRIMITIVES = ("sample", "param", "plate", "deterministic", "factor", "markov", "set_rng_seed", "enable_validation",
              "validation_enabled", "get_param_store", "clear_param_store", "pyro_backend", "set_backend",
              "register_backend", "condition")  # fmt: skip
HANDLERS = ("trace", "replay", "block", "condition", "substitute", "seed", "mask", "scale")
FAMILIES = ("Normal", "Bernoulli", "Beta", "Gamma", "Exponential", "Uniform", "LogNormal", "HalfNormal", "HalfCauchy", "StudentT",
            "Poisson", "Binomial", "Categorical", "Dirichlet", "MultivariateNormal", "Delta", "Independent",
            "TransformedDistribution")  # fmt: skip
GENERIC = ("GenericModule", "pyro_backend", "register_backend", "set_backend", "distributions", "handlers", "infer", "ops",
           "optim", "primitives", "pyro")  # fmt: skip


def _listed():
    """Return name and members of each line of the list of documented names."""
    lines = Path(__file__).with_name("documented_names.txt").read_text().splitlines()
    pairs = (line.partition(":") for line in lines if line and not line.startswith("#"))
    return {name: tuple(members.split()) for name, _, members in pairs}


# dotted path: members that the class must have
DOCUMENTED = {
    "ppl.backend.Backend": (),
    "ppl.errors.BackendError": (),
    **{f"ppl.{name}": () for name in PRIMITIVES},
    **{f"ppl.handlers.{name}": () for name in HANDLERS},
    **{f"ppl.poutine.{name}": () for name in HANDLERS if name not in ("substitute", "seed")},
    **{f"ppl.generic.{name}": () for name in GENERIC},
    "ppl.poutine.Trace": ("log_prob_sum", "compute_log_prob", "format_shapes"),
    **{f"ppl.distributions.{name}": ("expand", "to_event", "mask", "sample", "log_prob") for name in FAMILIES},
    "ppl.distributions.Distribution": ("sample", "log_prob", "expand", "expand_by", "to_event", "mask", "enumerate_support"),
    "ppl.distributions.constraints.positive": ("check",),
    "ppl.distributions.biject_to": (),
    "ppl.distributions.transform_to": (),
    "ppl.infer.SVI": ("step", "run", "evaluate_loss"),
    "ppl.infer.Trace_ELBO": ("loss", "differentiable_loss", "loss_and_grads"),
    "ppl.infer.Predictive": (),
    "ppl.infer.MCMC": ("run", "summary"),
    "ppl.infer.HMC": (),
    "ppl.infer.NUTS": (),
    "ppl.infer.mcmc.MCMC": ("run",),
    "ppl.infer.mcmc.HMC": (),
    "ppl.infer.mcmc.NUTS": (),
    "ppl.infer.autoguide.AutoDiagonalNormal": (),
    "ppl.infer.autoguide.AutoDelta": (),
    "ppl.contrib.autoguide.AutoDiagonalNormal": (),
    "ppl.contrib.autoguide.AutoDelta": (),
    "ppl.optim.Adam": (),
    "ppl.optim.SGD": (),
    "ppl.check_enumeration": (),
    "ppl.check_model": (),
    "ppl.debug": (),
    "ppl.render_model": (),
    **_listed(),
}


def resolve(dotted):
    """Return the object at ``dotted``: the longest importable module, then attributes."""
    parts = dotted.split(".")
    value = importlib.import_module(parts[0])
    for depth, name in enumerate(parts[1:], start=2):
        try:
            value = getattr(value, name)
        except AttributeError:
            value = importlib.import_module(".".join(parts[:depth]))
    return value


@pytest.mark.parametrize("dotted", DOCUMENTED)
def test_documented_name(dotted):
    value = resolve(dotted)
    missing = [member for member in DOCUMENTED[dotted] if not hasattr(value, member)]
    assert not missing, f"{dotted} lacks {missing}"


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_a_class_with_a_docstring(name):
    family = resolve(f"ppl.distributions.{name}")
    assert isinstance(family, type)
    assert family.__doc__


@pytest.mark.parametrize(
    "module", ["ppl", "ppl.ops", "ppl.distributions", "ppl.infer", "ppl.optim", "ppl.handlers", "ppl.generic"]
)
def test_all_is_honest(module):
    module = importlib.import_module(module)
    absent = [name for name in getattr(module, "__all__", ()) if not hasattr(module, name)]
    assert not absent


def test_negative_control_an_absent_name_is_found():
    with pytest.raises(ImportError):
        resolve("ppl.infer.NoSuchSampler")
