"""The error for two sites of one name shows the file and line of both, found from marks in this file's own text."""

import copy
import gc
import pickle
import re
import weakref
from pathlib import Path

import pytest

import ppl
from ppl import distributions as dist
from ppl import handlers, ops
from ppl.errors import DuplicateSite

TEXT = Path(__file__).read_text().splitlines()


def place(mark):
    """Return what the message says of the one line of this file that ends with a comment of ``mark``."""
    found = [number for number, text in enumerate(TEXT, 1) if text.endswith(f"  # {mark}")]
    assert len(found) == 1, mark
    return f"{__file__}:{found[0]}"


def message(model):
    with pytest.raises(DuplicateSite) as caught:
        handlers.trace(model).get_trace()
    assert not ppl.runtime.am_i_wrapped()
    return str(caught.value)


def places(text):
    return re.findall(re.escape(__file__) + r":\d+", text)


def test_both_places_are_shown(backend):
    def model():
        ppl.sample("x", dist.Normal(0.0, 1.0))  # plain, first
        ppl.sample("y", dist.Normal(0.0, 1.0))
        return ppl.sample("x", dist.Exponential(1.0))  # plain, second

    text = message(model)
    assert re.search(rf"'x': first Normal\(.*\) at {re.escape(place('plain, first'))}, then Exponential\(", text)
    assert places(text) == [place("plain, first"), place("plain, second")]
    for remedy in ("ppl.plate", "ppl.markov", "scope"):
        assert remedy in text


def test_a_call_over_several_lines_is_shown_by_its_first(backend):
    def model():
        ppl.sample(  # long, first
            "x",
            dist.Normal(0.0, 1.0),
        )
        y = 1.0 + ppl.sample(  # long, second
            "x",
            dist.Normal(0.0, 1.0),
        )
        return y

    assert places(message(model)) == [place("long, first"), place("long, second")]


def draw(name):
    return ppl.sample(name, dist.Normal(0.0, 1.0))  # helper


def draw_through_another(name):
    return draw(name)


def test_through_a_helper_the_call_of_sample_is_shown(backend):
    def before():
        ppl.sample("x", dist.Normal(0.0, 1.0))  # before the helper
        draw_through_another("x")

    def after():
        draw("y")
        draw("x")
        ppl.sample("x", dist.Normal(0.0, 1.0))  # after the helper

    def twice():
        draw("x")
        draw_through_another("x")

    assert places(message(before)) == [place("before the helper"), place("helper")]
    assert places(message(after)) == [place("helper"), place("after the helper")]
    assert places(message(twice)) == [place("helper"), place("helper")]


def test_inside_plates(backend):
    def model():
        with ppl.plate("rows", 2):
            ppl.sample("x", dist.Normal(0.0, 1.0))  # in rows
        with ppl.plate("items", 3, dim=-1), ppl.plate("columns", 2, dim=-2):
            ppl.sample("x", dist.Normal(0.0, 1.0))  # in columns

    text = message(model)
    assert f"in plate rows at {place('in rows')}, then" in text
    assert places(text) == [place("in rows"), place("in columns")]


def test_steps_of_a_plate_used_as_a_loop(backend):
    def model():
        for _ in ppl.plate("rows", 2):
            ppl.sample("x", dist.Normal(0.0, 1.0))  # in a loop

    assert places(message(model)) == [place("in a loop")] * 2


@pytest.mark.parametrize("wrap", [
    lambda model: handlers.scale(model, scale=2.0),
    lambda model: handlers.condition(model, data={"y": 0.5}),
    lambda model: handlers.trace(model),
    lambda model: handlers.block(model, hide=["y"]),
], ids=["scale", "condition", "trace", "block"])  # fmt: skip
def test_handlers_in_between_change_nothing(backend, wrap):
    def model():
        ppl.sample("x", dist.Normal(0.0, 1.0))  # wrapped, first
        ppl.sample("y", dist.Normal(0.0, 1.0))
        ppl.sample("x", dist.Normal(0.0, 1.0))  # wrapped, second

    assert places(message(wrap(model))) == [place("wrapped, first"), place("wrapped, second")]


def test_sites_that_the_library_itself_meets_are_shown_where_the_user_asked_for_them(backend):
    def model():
        ppl.factor("x", -1.0)  # factor
        ppl.deterministic("x", 1.0)  # deterministic

    assert places(message(model)) == [place("factor"), place("deterministic")]


def test_a_name_of_two_types_shows_both_places(backend):
    ppl.clear_param_store()

    def model():
        ppl.param("x", 1.0)
        ppl.param("x", 1.0)  # param
        ppl.sample("x", dist.Normal(0.0, 1.0))  # sample

    text = message(model)
    assert "param site first" in text
    assert places(text) == [place("param"), place("sample")]


def test_a_trace_as_context(backend):
    with handlers.trace() as recorder:
        ppl.sample("x", dist.Normal(0.0, 1.0))  # context, first
        with pytest.raises(DuplicateSite) as caught:
            ppl.sample("x", dist.Normal(0.0, 1.0))  # context, second
    assert places(str(caught.value)) == [place("context, first"), place("context, second")]
    # Outside the run a node is added by hand: of that one no place is known.
    with pytest.raises(DuplicateSite) as caught:
        recorder.get_trace().add_node("x", **recorder.trace.nodes["x"])
    assert places(str(caught.value)) == [place("context, first")]


def test_a_second_run_forgets_the_places_of_the_first(backend):
    def model(name):
        ppl.sample(name, dist.Normal(0.0, 1.0))  # either run
        ppl.sample("x", dist.Normal(0.0, 1.0))  # the duplicate

    recorder = handlers.trace(model)
    assert list(recorder.get_trace("y").stochastic_nodes) == ["y", "x"]
    with pytest.raises(DuplicateSite) as caught:
        recorder.get_trace("x")
    assert places(str(caught.value)) == [place("either run"), place("the duplicate")]


class _Held:
    """Something that a weak reference can watch."""


def test_neither_frames_nor_their_values_stay_alive(backend):
    watched = []

    def model():
        local = _Held()
        watched.append(weakref.ref(local))
        ppl.sample("x", dist.Normal(0.0, 1.0))

    recorder = handlers.trace(model)
    record = recorder.get_trace()
    gc.collect()
    assert "x" in record
    assert watched[0]() is None


def test_traces_and_handlers_still_copy_and_pickle(backend):
    recorder = handlers.trace(draw)
    record = recorder.get_trace("x")
    for other in (record.copy(), copy.deepcopy(record), pickle.loads(pickle.dumps(record))):
        assert list(other.stochastic_nodes) == ["x"]
        assert float(ops.to_numpy(other.nodes["x"]["value"])) == float(ops.to_numpy(record.nodes["x"]["value"]))
    with pytest.raises(DuplicateSite, match=re.escape(place("helper"))):
        record.copy().add_node("x", type="sample", name="x", fn=None)
