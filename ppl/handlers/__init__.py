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
from ppl.handlers.broadcast import broadcast
from ppl.handlers.condition import condition
from ppl.handlers.do import do
from ppl.handlers.enum import enum
from ppl.handlers.escape import escape
from ppl.handlers.indep import CondIndepStackFrame, IndepMessenger
from ppl.handlers.infer_config import infer_config
from ppl.handlers.lift import lift
from ppl.handlers.markov import MarkovMessenger
from ppl.handlers.mask import mask
from ppl.handlers.messenger import Handler, Messenger
from ppl.handlers.queue import queue
from ppl.handlers.reparam import reparam
from ppl.handlers.replay import replay
from ppl.handlers.scale import scale
from ppl.handlers.seed import seed
from ppl.handlers.substitute import substitute
from ppl.handlers.trace import identify_dense_edges, trace
from ppl.handlers.trace_struct import Trace
from ppl.handlers.uncondition import uncondition

__all__ = ["CondIndepStackFrame", "Handler", "IndepMessenger", "MarkovMessenger", "Messenger", "Trace", "block", "broadcast",
           "condition", "do", "enum", "escape", "identify_dense_edges", "infer_config", "lift", "mask", "queue", "reparam",
           "replay", "scale", "scale_and_mask", "seed", "substitute", "trace", "uncondition"]  # fmt: skip
