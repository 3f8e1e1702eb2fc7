"""Switches of the checks, and the check that every batch dimension is a plate's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ppl import ops
from ppl.distributions.validation import set_default_validate_args, validate_args_scope
from ppl.errors import ShapeError
from ppl.runtime import is_distribution, is_validation_enabled, set_validation, validation_scope
from ppl.typing import Message

__all__ = ["check_site_shapes", "enable_validation", "is_validation_enabled", "validation_enabled"]


def enable_validation(is_validate: bool = True) -> None:
    """Switch the checks of sites, distributions and inference on or off; they are on at first.

    >>> import ppl
    >>> ppl.enable_validation(True)
    >>> ppl.primitives.is_validation_enabled()
    True
    """
    set_validation(is_validate)
    set_default_validate_args(is_validate)


@contextmanager
def validation_enabled(is_validate: bool = True) -> Iterator[None]:
    """Switch the checks on or off for a block, in this thread or task only.

    >>> import ppl
    >>> with ppl.validation_enabled(False):
    ...     ppl.primitives.is_validation_enabled()
    False
    """
    with validate_args_scope(is_validate), validation_scope(is_validate):
        yield


def check_site_shapes(site: Message) -> None:
    """Raise if a site has a batch dimension that no plate declares; inference that sums over plates calls this.

    :param site: a node of a trace, its ``log_prob`` computed or not.
    :raises ShapeError: naming the site, its batch shape and its plates.
    """
    if site["type"] != "sample" or not is_distribution(site["fn"]) or site["infer"].get("_deterministic"):
        return
    shape = tuple(ops.shape(site["log_prob"])) if "log_prob" in site else tuple(site["fn"].batch_shape)
    sizes = {frame.dim: frame.size for frame in site["cond_indep_stack"] if frame.vectorized}
    for dim in range(-len(shape), 0):
        size = shape[dim]
        if size == 1 or (dim in sizes and sizes[dim] in (None, size)):
            continue
        frames = [frame for frame in site["cond_indep_stack"] if frame.vectorized]
        plates = ", ".join(f"{frame.name!r} (dim={frame.dim}, size={frame.size})" for frame in frames)
        raise ShapeError(
            f"site {site['name']!r} has batch shape {shape}, whose dim={dim} of size {size} no plate declares; "
            f"plates around it: {plates or 'none'}; expected a plate for each batch dimension; "
            f"try .to_event({-dim}) on its distribution, or with ppl.plate('name', {size}, dim={dim})"
        )
