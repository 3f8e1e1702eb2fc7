"""Effect handlers: each is a higher-order function, a decorator and a context manager.

>>> import ppl
>>> from ppl import distributions as dist, handlers
>>> def model(x):
...     return ppl.sample("z", dist.Normal(x, 1.0)) ** 2
>>> float(handlers.condition(model, data={"z": 3.0})(0.0))
9.0
"""

from ppl.distributions.score_parts import scale_and_mask
from ppl.handlers.block import block
from ppl.handlers.condition import condition
from ppl.handlers.indep import CondIndepStackFrame, IndepMessenger
from ppl.handlers.markov import MarkovMessenger
from ppl.handlers.mask import mask
from ppl.handlers.messenger import Handler, Messenger
from ppl.handlers.replay import replay
from ppl.handlers.scale import scale
from ppl.handlers.seed import seed
from ppl.handlers.substitute import substitute
from ppl.handlers.trace import identify_dense_edges, trace
from ppl.handlers.trace_struct import Trace

__all__ = ["CondIndepStackFrame", "Handler", "IndepMessenger", "MarkovMessenger", "Messenger", "Trace", "block", "condition",
           "identify_dense_edges", "mask", "replay", "scale", "scale_and_mask", "seed", "substitute", "trace"]  # fmt: skip
