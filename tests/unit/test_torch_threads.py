"""How many threads torch's compiled code is made for: one where its arrays are small."""

from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from ppl_torch import compile as compiling  # noqa: E402
from ppl_torch import graph  # noqa: E402

LIMIT = compiling.LARGEST_FOR_ONE_THREAD


@pytest.mark.parametrize(("shape", "alone"), [((4, 10), True), ((LIMIT,), True), ((LIMIT + 1,), False), ((2, LIMIT), False)])
def test_small_graphs_are_compiled_for_one_thread(monkeypatch, shape, alone):
    asked = []
    compiler = SimpleNamespace(compile=lambda recorded, inputs, options: asked.append(options))
    inputs = [torch.ones(shape)]
    recorded = graph.record(lambda x: (2.0 * x,), inputs)
    monkeypatch.setattr(compiling, "importlib", SimpleNamespace(import_module=lambda name: compiler))
    compiling._through_compiler(recorded, inputs)
    assert [options.get("cpp.threads") for options in asked] == [1 if alone else None]


def test_what_is_made_on_the_way_counts():
    column = torch.ones((300, 1))
    assert graph.largest(graph.record(lambda x: ((x * x.mT).sum(),), [column])) == 300 * 300
