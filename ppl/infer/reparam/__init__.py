"""Strategies for :class:`ppl.handlers.reparam`: latent sites expressed through others, for a posterior that is easier to explore.

>>> import ppl
>>> from ppl import distributions as dist, handlers
>>> from ppl.infer.reparam import TransformReparam
>>> def model():
...     return ppl.sample("x", dist.LogNormal(0.0, 1.0))
>>> handlers.trace(handlers.reparam(model, config={"x": TransformReparam()})).get_trace().stochastic_nodes
['x_base']
"""

from ppl.infer.reparam.discrete_cosine import DiscreteCosineReparam
from ppl.infer.reparam.haar import HaarReparam
from ppl.infer.reparam.loc_scale import LocScaleReparam
from ppl.infer.reparam.strategy import Reparam
from ppl.infer.reparam.transform import TransformReparam

__all__ = ["DiscreteCosineReparam", "HaarReparam", "LocScaleReparam", "Reparam", "TransformReparam"]
