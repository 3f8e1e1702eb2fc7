"""``jax.jit`` with options of the compiler, and programs compiled beside other work."""

import contextlib
import functools
import threading

import jax

from ppl_jax import tracing

# The compiler's older way to emit fused loops: on the loop of NUTS 0.6 of the time to compile, for programs as fast.
QUICK = {"xla_cpu_use_fusion_emitters": False}
# Without optimization a program takes up to three times as long and compiles in less than half of the time.
UNOPTIMIZED = {**QUICK, "xla_backend_optimization_level": 0}


def jit_on_cpu(fn, options):
    """Return ``jax.jit(fn)``, on a CPU with compiler options.

    A compiler that does not know an option compiles in its own way, as does a call within another compiled function or a
    derivative: jax takes options at the outermost level alone.
    """
    usual = jax.jit(fn)
    chosen = [jax.jit(fn, compiler_options=options) if jax.default_backend() == "cpu" else usual]
    ahead = []

    @functools.wraps(fn)
    def call(*args, **kwargs):
        if ahead and not _is_inside((args, kwargs)):
            program = ahead[0].result()
            try:
                if program is not None:
                    return program(*args, **kwargs)
            except (TypeError, ValueError):
                # For other shapes, or another device, than it was compiled for.
                pass
        if chosen[-1] is usual or _is_inside((args, kwargs)):
            return usual(*args, **kwargs)
        try:
            return chosen[-1](*args, **kwargs)
        except jax.errors.JaxRuntimeError as error:
            if "No such compile option" not in str(error):
                raise
            chosen.append(usual)
            return usual(*args, **kwargs)
        except ValueError as error:
            # A value of a derivative that the function closes over shows only here.
            if "compiler_options" not in str(error):
                raise
            return usual(*args, **kwargs)

    def prepare(make):
        """Compile the program for arguments of the shapes that ``make()`` returns, in a thread of its own; trace it before."""
        try:
            lowered = chosen[-1].lower(*jax.eval_shape(make))
        except Exception:
            # What is wrong with the function its first call will say.
            return
        ahead.append(_Ahead(lowered))

    call.prepare = prepare
    call.num_programs = lambda: chosen[-1]._cache_size() + len(ahead)
    return call


class _Ahead:
    """A program on its way; ``None`` if the compiler fails, as it will for the caller."""

    def __init__(self, lowered):
        self._lowered, self._program = lowered, None
        # No daemon: the compiler must not be cut off at exit.
        self._thread = threading.Thread(target=self._compile)
        self._thread.start()

    def _compile(self):
        with contextlib.suppress(Exception):
            self._program = self._lowered.compile()

    def result(self):
        self._thread.join()
        return self._program


def _is_inside(arguments):
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(arguments)) or tracing.is_tracing()
