"""Draw observed sites afresh."""

from __future__ import annotations

from ppl.handlers.messenger import Handler
from ppl.typing import Message


class uncondition(Handler):
    """Turn observed sample sites into latent ones, drawn from their distributions.

    The data stand in ``infer["obs"]`` of the site. Sites of :func:`ppl.deterministic` and :func:`ppl.factor` stay as they are.

    >>> import ppl
    >>> from ppl import distributions as dist, handlers
    >>> def model():
    ...     return ppl.sample("x", dist.Uniform(0.0, 1.0), obs=7.0)
    >>> recorded = handlers.trace(handlers.uncondition(model)).get_trace()
    >>> recorded.stochastic_nodes, bool(recorded.nodes["x"]["value"] < 1.0)
    (['x'], True)
    """

    def on_sample(self, message: Message) -> None:
        """Forget the data of the site, and keep it where a caller finds it."""
        if message["is_observed"] and not message["infer"].get("_deterministic"):
            message["infer"]["obs"] = message["value"]
            message["value"], message["is_observed"], message["done"] = None, False, False
