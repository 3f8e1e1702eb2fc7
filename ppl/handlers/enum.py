"""Enumerate discrete sites in parallel, each along a dimension of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ppl import ops
from ppl.errors import GapError, HandlerError, PlateCollision, ShapeError, SiteError
from ppl.handlers import shapes
from ppl.handlers.allocator import DimAllocator
from ppl.handlers.entry import PerEntry
from ppl.runtime import draw, is_distribution, is_validation_enabled
from ppl.typing import Message


class _Run:
    """What one run has given and seen so far."""

    def __init__(self, first_available_dim: int) -> None:
        self.allocator = DimAllocator(first_available_dim)
        self.sites: dict[str, Message] = {}

    def table(self) -> str:
        """Return the shapes of the sites before a faulty one."""
        return shapes.table(self.sites, "Trace Shapes:", None)


class enum(PerEntry):
    """Give each latent site marked ``infer={"enumerate": "parallel"}`` all values of its support at once.

    :param first_available_dim: the rightmost batch dimension, negative, that no plate uses; it and those to its left are given
        to the enumerated sites.
    :raises HandlerError: if it is no negative int.
    :raises PlateCollision: if a plate uses one of these dimensions.
    :raises ShapeError: if a distribution has a batch dimension there that belongs to no site it may depend on.
    :raises SiteError: if a marked site has no finite support.

    The values run along ``infer["_enumerate_dim"]``, a negative int; the other batch dimensions have size 1, or with
    ``infer["expand"]`` that of the distribution. ``infer["num_samples"]`` takes so many independent draws, always expanded,
    instead of the support. Inside :func:`ppl.markov` a dimension is reused once its site is out of the visible history.
    ``infer["_dim_to_id"]`` names for each of these dimensions the site that runs along it where this one stands. Sites marked
    ``"sequential"`` are left to :func:`queue`.

    >>> import ppl
    >>> from ppl import distributions as dist, handlers, ops
    >>> def model():
    ...     x = ppl.sample("x", dist.Bernoulli(0.25), infer={"enumerate": "parallel"})
    ...     ppl.sample("y", dist.Normal(x, 1.0), obs=0.0)
    >>> trace = handlers.trace(handlers.enum(model, first_available_dim=-1)).get_trace()
    >>> trace.compute_log_prob()
    >>> [round(float(term), 4) for term in ops.exp(trace.nodes["x"]["log_prob"] + trace.nodes["y"]["log_prob"])]
    [0.2992, 0.0605]
    """

    def __init__(self, fn: Callable[..., Any] | None = None, first_available_dim: int | None = None) -> None:
        if not isinstance(first_available_dim, int) or isinstance(first_available_dim, bool) or first_available_dim >= 0:
            raise HandlerError(
                f"enum got first_available_dim={first_available_dim!r}; expected a negative int, counted from the right; try -1 "
                "less the number of nested plates"
            )
        super().__init__(fn)
        self.first_available_dim = first_available_dim

    def begin(self) -> None:
        """Begin a run."""
        self._run = _Run(self.first_available_dim)

    reset = begin

    def on_sample(self, message: Message) -> None:
        """Check the dimensions of the site, name their owners, and enumerate the site if it is marked."""
        fn = message["fn"]
        if not is_distribution(fn):
            return
        run = self._run
        if is_validation_enabled() and not message["infer"].get("_deterministic"):
            self._check(run, message, tuple(fn.batch_shape))
        # A replayed site brings the metadata of another trace, which stays as it is.
        infer = message["infer"] = dict(message["infer"])
        infer["_dim_to_id"] = {**infer.get("_dim_to_id", {}), **run.allocator.visible(message)}
        latent = not message["is_observed"] and message["value"] is None
        if latent and infer.get("enumerate") == "parallel":
            dim = run.allocator.allocate(message)
            message["value"], message["done"] = _along(dim, _values(message), tuple(fn.event_shape)), True
            infer["_enumerate_dim"] = dim
            if infer.get("num_samples") is None:
                infer["_all_values"] = message["value"]
            infer["_dim_to_id"][dim] = message["name"]

    def after_sample(self, message: Message) -> None:
        """Note which enumerated dimensions the value of the site has."""
        fn, infer, run = message["fn"], message["infer"], self._run
        if not is_distribution(fn):
            return
        if message["is_observed"]:
            # A handler further out may have observed what was enumerated here.
            infer.pop("_enumerate_dim", None)
        shape = tuple(ops.shape(message["value"]))
        batch = shape[: len(shape) - len(fn.event_shape)]
        owners = {d: name for d, name in infer.get("_dim_to_id", {}).items() if -d <= len(batch) and batch[d] != 1}
        if "_enumerate_dim" in infer:
            owners[infer["_enumerate_dim"]] = message["name"]
        run.allocator.record(message, owners)
        run.sites[message["name"]] = message

    def _check(self, run: _Run, message: Message, batch_shape: tuple[int, ...]) -> None:
        first = self.first_available_dim
        plates = {frame.name: frame.dim for frame in message["cond_indep_stack"] if frame.vectorized}
        for plate, dim in plates.items():
            if dim <= first:
                raise PlateCollision(
                    f"plate {plate!r} uses dim={dim} at site {message['name']!r}, but enum has first_available_dim={first} and "
                    f"gives dimensions from there to the left; expected plates to the right of it; try first_available_dim="
                    f"{min(plates.values()) - 1}, which is max_plate_nesting={-min(plates.values())} where inference asks for "
                    f"that\n{run.table()}"
                )
        stray = run.allocator.unexplained(message, batch_shape)
        if stray is not None:
            raise ShapeError(_stray(run, message["name"], batch_shape, stray) + f"\n{run.table()}")


def _stray(run: _Run, name: str, batch_shape: tuple[int, ...], dim: int) -> str:
    owner = run.allocator.latest_owner(dim)
    head = f"site {name!r} has batch shape {batch_shape}, whose dim={dim} of size {batch_shape[dim]} "
    if owner is None:
        return head + (
            f"is neither a plate's nor an enumerated site's; expected size 1 there; try .to_event({-dim}) on its distribution, "
            f"or a ppl.plate with dim={dim} and enum(first_available_dim={dim - 1})"
        )
    return head + (
        f"belongs to {owner!r} or a site before it in that dimension, none of which {name!r} sees; expected it to depend on the "
        "visible steps of its Markov chain alone; try ppl.markov with a larger history, or keep=True for branches that depend on "
        "each other"
    )


def _values(message: Message) -> Any:
    """Return the values of a site along a new leading axis."""
    fn, infer = message["fn"], message["infer"]
    num_samples = infer.get("num_samples")
    if num_samples is not None:
        return draw(message["name"], fn, ((num_samples,),), {}, message["rng_key"])
    try:
        return fn.enumerate_support(expand=bool(infer.get("expand", False)))
    except GapError as error:
        raise SiteError(
            f"site {message['name']!r} is marked infer={{'enumerate': 'parallel'}}, but {error}; expected a distribution of "
            "finite support; try infer={'enumerate': 'parallel', 'num_samples': 10} to draw values, or leave the mark out"
        ) from error


def _along(dim: int, values: Any, event_shape: tuple[int, ...]) -> Any:
    """Return ``values``, whose first axis is new, with that axis moved to the batch dimension ``dim``, where it has size 1."""
    shape = tuple(values.shape)
    count, batch = shape[0], shape[1 : len(shape) - len(event_shape)]
    if all(size == 1 for size in batch):
        return ops.reshape(values, (count, *(1,) * (-dim - 1), *event_shape))
    right = batch[max(len(batch) + dim + 1, 0) :]
    left = batch[: max(len(batch) + dim, 0)]
    # The batch without the axis of size 1 at ``dim``.
    values = ops.reshape(values, (count, *left, *(1,) * (-dim - 1 - len(right)), *right, *event_shape))
    return ops.moveaxis(values, 0, len(left))
