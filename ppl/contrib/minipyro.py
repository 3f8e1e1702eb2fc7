"""A whole probabilistic programming language in one short file, to be read from top to bottom.

A model is a Python function that calls ``sample`` and ``param``. Each call sends a *message* through a *stack* of handlers, each
of which may look at it, change it or stop it: that is the one idea. ``docs/tutorials/minipyro.md`` builds this file in eight
steps, and ``with pyro_backend("minipyro")`` runs programs of :mod:`ppl.generic` on it, which has the full library's names.
"""

from ppl import ops
from ppl.distributions import constraints, transform_to
from ppl.ops import autodiff, compile, random

STACK: list = []  # the handlers that listen, the outermost one first
PARAMS: dict = {}  # what is learned, by name
set_rng_seed, clear_param_store = random.set_rng_seed, PARAMS.clear


# ---- Messages: each call of sample or param is one, and travels through the stack. ----
def apply_stack(msg):
    """Send a message outwards through the handlers until one stops it, give it a value if it has none, and come back."""
    reached = []
    for handler in reversed(STACK):
        reached.append(handler)
        handler.process_message(msg)
        if msg["stop"]:
            break
    if msg["value"] is None:
        msg["value"] = msg["fn"](*msg["args"], **msg["kwargs"])
    for handler in reversed(reached):
        handler.postprocess_message(msg)
    return msg


def sample(name, fn, obs=None):
    """Return a draw from the distribution ``fn``, or the data ``obs``, or what a handler puts in the place of either."""
    msg = {"type": "sample", "name": name, "fn": fn, "args": (), "kwargs": {"rng_key": None}, "stop": False}
    return apply_stack({**msg, "value": None if obs is None else as_array(obs), "is_observed": obs is not None})["value"]


def param(name, init_value=None, constraint=constraints.real):
    """Return the value of a learnable parameter; ``init_value``, or what it returns if it is a function, is its first."""
    msg = {"type": "param", "name": name, "fn": stored, "args": (name, init_value, constraint), "kwargs": {}, "stop": False}
    return apply_stack({**msg, "value": None, "is_observed": False})["value"]


def as_array(value, dtype=None):
    """Return ``value`` as an array of the active library."""
    return value if ops.is_array(value) else ops.array(value, dtype)


# ---- Parameters: unbounded numbers, each mapped into its constraint. ----
class Param:
    """What an optimizer moves: an array without bounds, the map into its constraint, and its latest gradient."""

    def __init__(self, value, constraint):
        if not bool(ops.all(constraint.check(value))):
            raise ValueError(f"the initial value {value} lies outside of {constraint}; try one inside")
        self.constrain, self.gradient = transform_to(constraint), None
        self.unconstrained = self.constrain.inv(value)


def stored(name, init_value, constraint):
    """Return the value of a parameter, stored from ``init_value`` if it is new."""
    if name not in PARAMS:
        if init_value is None:
            raise ValueError(f"param {name!r} is new and has no initial value; try param({name!r}, 0.0)")
        PARAMS[name] = Param(as_array(init_value() if callable(init_value) else init_value, ops.default_dtype()), constraint)
    if not ops.is_array(PARAMS[name].unconstrained):
        raise ValueError(f"param {name!r} is an array of another library; try get_param_store().clear() between backends")
    return PARAMS[name].constrain(PARAMS[name].unconstrained)


def get_param_store():
    """Return the parameters: a dict from name to :class:`Param`."""
    return PARAMS


# ---- Handlers: those who listen. ----
class Messenger:
    """A handler: ``handler(fn)`` runs as ``fn`` does and listens meanwhile; ``with handler:`` listens to a block."""

    def __init__(self, fn=None):
        self.fn = fn

    def __call__(self, *args, **kwargs):
        with self:
            return self.fn(*args, **kwargs)

    def __enter__(self):
        STACK.append(self)
        return self

    def __exit__(self, *error):
        STACK.pop()

    def process_message(self, msg):
        """See a message before the site has its value."""

    def postprocess_message(self, msg):
        """See it again with the value."""


class trace(Messenger):
    """Write down every site: a run becomes a dict from name to message."""

    def __enter__(self):
        self.trace = {}
        return super().__enter__()

    def postprocess_message(self, msg):
        if msg["name"] in self.trace and "sample" in (self.trace[msg["name"]]["type"], msg["type"]):
            raise ValueError(f"two sites are called {msg['name']!r}; expected distinct names; try another one for the second")
        self.trace[msg["name"]] = msg.copy()

    def get_trace(self, *args, **kwargs):
        self(*args, **kwargs)
        return self.trace


class replay(Messenger):
    """Give the sites of a run the values that an earlier run drew."""

    def __init__(self, fn, guide_trace):
        super().__init__(fn)
        self.guide_trace = guide_trace

    def process_message(self, msg):
        if msg["type"] == "sample" and msg["name"] in self.guide_trace and not msg["is_observed"]:
            msg["value"] = self.guide_trace[msg["name"]]["value"]


class substitute(Messenger):
    """Give sites, params too, values by name: a model becomes a function of them."""

    def __init__(self, fn=None, data=None):
        super().__init__(fn)
        self.data = data or {}

    def process_message(self, msg):
        if msg["name"] in self.data and not msg["is_observed"]:
            msg["value"] = as_array(self.data[msg["name"]])


class block(Messenger):
    """Hide the sites for which ``hide_fn`` is true from the handlers further out."""

    def __init__(self, fn=None, hide_fn=lambda msg: True):
        super().__init__(fn)
        self.hide_fn = hide_fn

    def process_message(self, msg):
        msg["stop"] = bool(self.hide_fn(msg))


class seed(Messenger):
    """Draw each site from a key made of ``rng_seed`` and its name; where a library has no keys, from a seeded generator."""

    def __init__(self, fn=None, rng_seed=None):
        super().__init__(fn)
        self.rng_seed = rng_seed

    def __enter__(self):
        self.key = None if self.rng_seed is None else random.key(self.rng_seed)
        return super().__enter__()

    def process_message(self, msg):
        if msg["type"] == "sample" and msg["kwargs"]["rng_key"] is None and self.key is not None:
            msg["kwargs"]["rng_key"] = random.fold_in(self.key, msg["name"])


class PlateMessenger(Messenger):
    """Make ``size`` independent copies of each site inside: one more axis of its distribution, at ``dim`` from the right."""

    def __init__(self, fn, size, dim):
        super().__init__(fn)
        self.size, self.dim = size, dim

    def __enter__(self):
        if self.dim >= 0 or any(isinstance(handler, PlateMessenger) and handler.dim == self.dim for handler in STACK):
            raise ValueError(f"a plate got dim={self.dim}; expected a negative one that no plate around it has")
        super().__enter__()
        return ops.arange(self.size)

    def process_message(self, msg):
        if msg["type"] == "sample":
            shape = [1] * (-self.dim - len(msg["fn"].batch_shape)) + list(msg["fn"].batch_shape)
            if shape[self.dim] not in (1, self.size):
                raise ValueError(f"site {msg['name']!r} has batch shape {shape}; expected {self.size} at dim={self.dim}")
            shape[self.dim] = self.size
            msg["fn"] = msg["fn"].expand(tuple(shape))


def plate(name, size, dim):
    """Return a context in which each site is ``size`` independent copies along the axis ``dim``, such as -1."""
    return PlateMessenger(None, size, dim)


# ---- Inference: move the params of a guide along gradients until it is close to the posterior. ----
def log_prob_sum(sites, chosen=lambda msg: True):
    """Return the joint log density of a trace, or that of the chosen sites alone."""
    total = ops.zeros(())
    for msg in sites.values():
        if msg["type"] == "sample" and chosen(msg):
            log_prob = msg["fn"].log_prob(msg["value"])
            if tuple(log_prob.shape) != tuple(msg["fn"].batch_shape):
                raise ValueError(f"site {msg['name']!r} has a value of shape {ops.shape(msg['value'])}, which its plates lack")
            total = total + ops.sum(log_prob)
    return total


def elbo(model, guide, *args, **kwargs):
    """Return minus a draw of the evidence lower bound: the guide's log density minus the model's, where the guide goes."""
    guide_trace = trace(guide).get_trace(*args, **kwargs)
    model_trace = trace(replay(model, guide_trace)).get_trace(*args, **kwargs)
    drawn, asked = (sorted(name for name, msg in run.items() if msg["type"] == "sample" and not msg["is_observed"])
                    for run in (guide_trace, model_trace))  # fmt: skip
    if drawn != asked:
        raise ValueError(f"the guide draws {drawn}; expected the latent sites of the model, {asked}")
    loss = log_prob_sum(guide_trace) - log_prob_sum(model_trace)
    # Gradients pass through no discrete draw; this term, of value zero, has the gradient that is then missing.
    score = log_prob_sum(guide_trace, lambda msg: not msg["is_observed"] and not msg["fn"].has_rsample)
    return loss + autodiff.stop_gradient(loss) * (score - autodiff.stop_gradient(score))


def Trace_ELBO(**kwargs):
    """Return the loss :func:`elbo`, one draw a call; other options of the full library mean nothing here."""
    if kwargs.get("num_particles", 1) != 1:
        raise ValueError(f"num_particles={kwargs['num_particles']}, but minipyro has one; try the full library")
    return elbo


class JitTrace_ELBO:
    """The same loss, compiled for each pair of model and guide: all that changes between calls becomes an argument."""

    def __init__(self, **kwargs):
        self.loss, self.programs = Trace_ELBO(**kwargs), {}

    def __call__(self, model, guide, *args):
        def evaluate(key, values, *args):
            with block(), seed(rng_seed=key), substitute(data=dict(zip(names, values, strict=True))):
                return self.loss(model, guide, *args)

        if (model, guide) not in self.programs:  # the first call runs as it is, and meets the params
            names, loss = params_met(self.loss, model, guide, *args)
            self.programs[model, guide] = names, compile.differentiable(evaluate)
            return loss
        names, program = self.programs[model, guide]
        return program(random.next_key(), [param(name) for name in names], *args)


def params_met(fn, *args, **kwargs):
    """Run ``fn`` and return the names of the params that it met, and its result."""
    with trace() as met, block(hide_fn=lambda msg: msg["type"] != "param"):
        result = fn(*args, **kwargs)
    return list(met.trace), result


class Adam:
    """Move params against the running mean of their gradients, in units of its spread (Kingma and Ba 2015, algorithm 1)."""

    def __init__(self, optim_args):
        settings = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8}
        if set(optim_args) - set(settings):
            raise ValueError(f"Adam got {sorted(optim_args)}; expected some of {sorted(settings)}; try the full library")
        self.lr, self.betas, self.eps = {**settings, **optim_args}.values()
        self.states = {}

    def __call__(self, params):
        for moved in params:
            steps, mean, square = self.states.get(moved, (0, 0.0, 0.0))
            mean = self.betas[0] * mean + (1 - self.betas[0]) * moved.gradient
            square = self.betas[1] * square + (1 - self.betas[1]) * moved.gradient**2
            self.states[moved] = steps + 1, mean, square
            spread = ops.sqrt(square / (1 - self.betas[1] ** (steps + 1))) + self.eps
            moved.unconstrained = moved.unconstrained - self.lr * mean / (1 - self.betas[0] ** (steps + 1)) / spread


class SVI:
    """Fit a guide to a model: differentiate the loss in the params that it meets, and let the optimizer move these."""

    def __init__(self, model, guide, optim, loss):
        self.model, self.guide, self.optim, self.loss, self.names = model, guide, optim, loss, []

    def step(self, *args, **kwargs):
        """Take one step and return the loss before it; a param that it is the first to meet moves from the next one on."""
        if not self.names or set(self.names) - set(PARAMS):
            with random.scope(0):  # meets the params and leaves the draws to come as they are
                self.names = params_met(self.loss, self.model, self.guide, *args, **kwargs)[0]
        met = []

        def loss_at(free):
            with substitute(data={name: PARAMS[name].constrain(value) for name, value in free.items()}):
                met[:], loss = params_met(self.loss, self.model, self.guide, *args, **kwargs)
            return loss

        loss, gradients = autodiff.value_and_grad(loss_at)({name: PARAMS[name].unconstrained for name in self.names})
        for name in set(met) & set(gradients):
            PARAMS[name].gradient = gradients[name]
        self.optim([PARAMS[name] for name in met if name in gradients])
        self.names += [name for name in met if name not in gradients]
        return float(ops.to_numpy(loss))
