"""Runs of a model in which every site has a chosen value."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ppl import ops, runtime
from ppl.constraints import is_dependent
from ppl.contrib.render.evidence import Evidence, collect
from ppl.errors import PplError
from ppl.handlers import CondIndepStackFrame, Handler, seed
from ppl.params import get_param_store
from ppl.runtime import is_distribution
from ppl.transforms import biject_to
from ppl.typing import Message

DRAWS = 3
MOST_ENUMERATED = 16
# Far out in unconstrained space, so that a branch taken in a tail is seen.
FAR = (-4.0, 4.0)
STEPS = (1.0, -0.75)


@dataclass
class Site:
    """One site of a run.

    :param name: its name.
    :param kind: ``"latent"``, ``"observed"``, ``"deterministic"``, ``"factor"`` or ``"param"``.
    :param fn: the distribution; for a param its constraint.
    :param args: arguments of the distribution's call.
    :param frames: the plates around it, outermost first.
    :param event_dim: of a param, ``None`` if not declared.
    :param natural: the value that the model itself gave, ``None`` for a draw.
    :param value: the value that the site had.
    :param evidence: what its distribution is made of.
    """

    name: str
    kind: str
    fn: Any
    args: tuple[Any, ...] = ()
    frames: tuple[CondIndepStackFrame, ...] = ()
    event_dim: int | None = None
    natural: Any = None
    value: Any = None
    evidence: Evidence = field(default_factory=dict)


class Rerun(Handler):
    """Runs a model with given values at its sites, whatever they are, and records what each site was made of.

    :param values: by site name; a site without an entry, or whose shape has changed, keeps its own.
    :param indices: of the plates, by name.

    Nothing outside sees the run.
    """

    def __init__(self, values: Mapping[str, Any], indices: Mapping[str, Any]) -> None:
        super().__init__()
        self.values = values
        self.indices = dict(indices)
        self.sites: dict[str, Site] = {}

    def process_message(self, message: Message) -> None:
        """Give the site its value and hide it from handlers further out."""
        message["stop"] = True
        super().process_message(message)

    def on_sample(self, message: Message) -> None:
        """Record the site and choose its value."""
        name, fn, natural = message["name"], message["fn"], message["value"]
        kind = _kind(message)
        shown = {"value": natural} if kind == "deterministic" else {"fn": fn, "args": message["args"]}
        if kind == "observed":
            shown["value"] = natural
        # A plain function is a closure over whatever it depends on; its arguments are all that can be compared.
        evidence = collect(**shown, scale=message["scale"], mask=message["mask"], kind=kind)
        site = Site(name, kind, fn, message["args"], message["cond_indep_stack"], natural=natural, evidence=evidence)
        chosen = self.values.get(name)
        if kind != "factor" and chosen is not None and _fits(chosen, site):
            message["value"], message["done"] = chosen, True
        elif natural is None and is_distribution(fn):
            message["value"] = _first_value(message)
        self.sites[name] = site

    def after_sample(self, message: Message) -> None:
        """Record the value."""
        self.sites[message["name"]].value = message["value"]

    def on_param(self, message: Message) -> None:
        """Choose the value of a parameter."""
        if message["name"] in self.values:
            message["value"], message["done"] = self.values[message["name"]], True

    def after_param(self, message: Message) -> None:
        """Record the parameter before a plate takes a part of it."""
        name, kwargs = message["name"], message["kwargs"]
        frames = message["cond_indep_stack"]
        self.sites[name] = Site(name, "param", kwargs.get("constraint"), frames=frames, event_dim=kwargs.get("event_dim"),
                                value=message["value"])  # fmt: skip

    def on_subsample(self, message: Message) -> None:
        """Take the indices of the first run, if the number of them is still the same."""
        earlier = self.indices.get(message["name"])
        if earlier is not None and _shape(earlier)[0] == getattr(message["fn"], "subsample_size", None):
            message["value"], message["done"] = earlier, True

    def after_subsample(self, message: Message) -> None:
        """Record the indices."""
        self.indices.setdefault(message["name"], message["value"])


def _kind(message: Message) -> str:
    infer = message["infer"]
    if infer.get("_deterministic"):
        return "deterministic"
    if infer.get("_factor"):
        return "factor"
    return "observed" if message["is_observed"] else "latent"


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(value.shape) if hasattr(value, "shape") else tuple(ops.shape(ops.array(value)))


def _fits(value: Any, site: Site) -> bool:
    if site.natural is not None:
        return _shape(value) == _shape(site.natural)
    # Of what a plain function returns nothing is known.
    return not is_distribution(site.fn) or _shape(value) == tuple(site.fn.shape(*site.args))


def _first_value(message: Message) -> Any:
    fn, args = message["fn"], message["args"]
    try:
        return runtime.draw(message["name"], fn, args, message["kwargs"], message["rng_key"])
    except NotImplementedError:
        # An improper prior: no draw, but a point of its support.
        return at(fn.support, tuple(fn.shape(*args)), 0.0)


def at(support: Any, shape: tuple[int, ...], coordinate: float) -> Any:
    """Return the point of ``support`` all of whose unconstrained coordinates are ``coordinate``."""
    transform = biject_to(support)
    return transform(ops.full(tuple(transform.inverse_shape(shape)), coordinate))


def run(
    model: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], values: Mapping[str, Any],
    indices: Mapping[str, Any], rng_seed: int,
) -> Rerun:  # fmt: skip
    """Run ``model`` with chosen values, from a seed, and put the param store back afterwards."""
    handler = Rerun(values, indices)
    store = get_param_store()
    with warnings.catch_warnings(), runtime.validation_scope(False):
        # Values far out overflow somewhere, and the user did not ask for them.
        warnings.simplefilter("ignore")
        with store.scope(store.get_state()), handler, seed(rng_seed=rng_seed):
            model(*args, **kwargs)
    return handler


def other_values(site: Site, seen: list[Any]) -> Iterator[Any]:
    """Yield values that the site might have had: draws, the whole of a small support, points far out.

    :param site: the site as it was.
    :param seen: values that it had in other runs; a deterministic site has no others of its own.
    """
    makers = {"latent": _draws, "observed": _draws, "param": _steps, "deterministic": _nudges}
    yield from seen
    if not (seen and site.kind == "deterministic"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield from makers[site.kind](site) if site.kind in makers else ()


def _draws(site: Site) -> list[Any]:
    fn, shape = site.fn, _shape(site.value)
    if not is_distribution(fn) or tuple(fn.shape(*site.args)) != shape:
        return _nudges(site)
    values: list[Any] = []
    try:
        if fn.has_enumerate_support:
            support = fn.enumerate_support(expand=False)
            values += [ops.broadcast_to(support[i], shape) for i in range(min(int(support.shape[0]), MOST_ENUMERATED))]
    except (PplError, NotImplementedError):
        pass
    try:
        for number in range(DRAWS):
            with seed(rng_seed=1 + number):
                values.append(runtime.draw(site.name, fn, site.args, {}))
    except (PplError, NotImplementedError):
        pass
    try:
        if not fn.support.is_discrete:
            values += [at(fn.support, shape, coordinate) for coordinate in FAR]
    except (PplError, NotImplementedError):
        pass
    return values or _nudges(site)


def _steps(site: Site) -> list[Any]:
    if site.fn is None or is_dependent(site.fn) or site.fn.is_discrete:
        return _nudges(site)
    try:
        transform = biject_to(site.fn)
        start = transform.inv(site.value)
        return [transform(start + step) for step in STEPS]
    except (PplError, NotImplementedError):
        return _nudges(site)


def _nudges(site: Site) -> list[Any]:
    value = site.value if ops.is_array(site.value) else ops.array(site.value)
    kind = ops.dtype_name(value)
    if kind == "bool":
        return [~value]
    return [value + 1.0, value * 1.5 - 0.25] if ops.is_floating(value) else [value + 1, value - 1]
