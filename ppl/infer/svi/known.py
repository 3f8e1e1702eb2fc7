"""The params that a fit has met so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ppl import ops
from ppl.infer.objective import UnknownParam, constraints_of, discover, leaves_of, require_params
from ppl.params import get_param_store
from ppl.typing import Model


class KnownParams:
    """Names the params of a model, a guide and a loss; their values are in the param store of the active backend.

    ``names`` is in the order of the first meeting.
    """

    def __init__(self, model: Model, guide: Model, loss: Any) -> None:
        self.names: dict[str, None] = {}
        self._model, self._guide, self._loss = model, guide, loss

    def know(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], key: Any = None, ahead: Callable[[], None] | None = None
    ) -> None:
        """Run model and guide once unless their params are known and stored; see :meth:`discover`."""
        store = get_param_store()
        if not self.names or any(name not in store for name in self.names):
            self.names = {}
            self.discover(args, kwargs, key, ahead=ahead)

    def discover(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        key: Any = None,
        expected: UnknownParam | None = None,
        ahead: Callable[[], None] | None = None,
    ) -> None:
        """Run model and guide once, so that each of their params is stored.

        :param expected: raised if its param does not appear.
        :param ahead: called once the params are known, before the loss looks at model and guide.
        :raises InferenceError: if there is no param.
        """

        def meet(found: list[str]) -> None:
            self.names = {**self.names, **dict.fromkeys(found)}
            if ahead is not None and self.names:
                ahead()

        found = discover(self._model, self._guide, args, kwargs, key, self._loss, meet)
        self.names = {**self.names, **dict.fromkeys(found)}
        require_params(self.names)
        if expected is not None and expected.name not in self.names:
            raise expected

    def leaves(self) -> dict[str, Any]:
        """Return the unconstrained arrays by name."""
        return leaves_of(self.names)

    def constraints(self) -> dict[str, Any]:
        """Return the constraints by name."""
        return constraints_of(self.names)

    def store(self, params: Mapping[str, Any]) -> None:
        """Put unconstrained values into the param store."""
        store = get_param_store()
        for name, value in params.items():
            store.set_unconstrained(name, value)

    def describe(self) -> dict[str, Any]:
        """Return the unconstrained shape and the constraint of each param, as JSON gives them back."""
        constraints = self.constraints()
        return {name: [list(ops.shape(value)), repr(constraints[name])] for name, value in sorted(self.leaves().items())}
