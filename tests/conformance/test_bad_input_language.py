"""Bad input to the language: what is misspelt, given twice, left out or of another type gets a sentence, and changes nothing."""

import json
import pathlib
import struct
import warnings

import pytest

import ppl
from ppl import constraints, handlers, ops, runtime
from ppl import distributions as dist
from ppl.errors import DuplicateSite, HandlerError, ParamError, PlateCollision, PplWarning, SiteError

pytestmark = pytest.mark.strict


@pytest.fixture(autouse=True)
def _clean_before_and_after(backend):
    ppl.clear_param_store()
    yield
    assert runtime.STACK.get() == ()
    ppl.clear_param_store()


def model():
    rate = ppl.param("rate", 1.0)
    weight = ppl.sample("weight", dist.Normal(0.0, rate))
    height = ppl.sample("height", dist.Normal(weight, 1.0))
    return ppl.sample("y", dist.Normal(height, 1.0), obs=0.5)


def trace_with(name):
    return handlers.trace(lambda: ppl.sample(name, dist.Normal(0.0, 1.0))).get_trace()


MISSPELT = {
    "condition": lambda: handlers.condition(model, data={"wieght": 1.0}),
    "do": lambda: handlers.do(model, data={"wieght": 1.0}),
    "replay": lambda: handlers.replay(model, trace=trace_with("wieght")),
}


@pytest.mark.parametrize("name", MISSPELT)
def test_a_misspelt_site_warns_once_with_the_closest(backend, name):
    with pytest.warns(PplWarning, match=rf"{name} got a value for 'wieght', but .*closest sites are 'weight'") as caught:
        MISSPELT[name]()()
    assert len(caught) == 1


@pytest.mark.parametrize("make", [
    lambda: handlers.condition(model, data={"weight": 1.0}),
    lambda: handlers.do(model, data={"weight": 1.0}),
    lambda: handlers.replay(model, trace=handlers.trace(model).get_trace()),
    # A guide may have sites that the model lacks: nothing is close.
    lambda: handlers.replay(model, trace=trace_with("auxiliary")),
])  # fmt: skip
def test_names_that_fit_or_are_plainly_others_warn_of_nothing(backend, make):
    with warnings.catch_warnings():
        warnings.simplefilter("error", PplWarning)
        make()()


def test_a_misspelt_prior_warns(backend):
    with pytest.warns(PplWarning, match="lift got a value for 'rte'.*'rate'"):
        handlers.lift(model, prior={"rte": dist.Exponential(1.0)})()


ARGUMENTS = {
    "a function and a context": (lambda: handlers.scale(model, scale=1.0)(model, model), TypeError, "positional"),
    "neither": (lambda: handlers.scale(scale=1.0)(), HandlerError, "no function to run"),
    "no function but arguments": (lambda: handlers.mask(mask=True)(1, 2), HandlerError, "expected to decorate one"),
    "something that is no function": (lambda: handlers.trace(3.0), HandlerError, "wraps a function, got float"),
    "data in place of the function": (lambda: handlers.condition({"x": 1.0}), HandlerError, "data"),
    "no data": (lambda: handlers.do(model), HandlerError, "do needs data"),
    "data of another kind": (lambda: handlers.do(model, data=[1.0]), HandlerError, "dict or a Trace"),
    "no function of a site": (lambda: handlers.escape(model), HandlerError, "escape_fn"),
    "no configuration": (lambda: handlers.infer_config(model), HandlerError, "config_fn"),
    "a configuration that returns nothing": (
        lambda: handlers.infer_config(model, config_fn=lambda site: None)(), HandlerError, "config_fn returned NoneType"
    ),
    "no queue": (lambda: handlers.queue(model), HandlerError, "queue needs queue"),
    "no prior": (lambda: handlers.lift(model), HandlerError, "lift needs distributions"),
    "a prior of no distribution": (lambda: handlers.lift(model, prior={"rate": 2.0}), HandlerError, "rate is none"),
    "a prior that does not fit": (
        lambda: handlers.lift(lambda: ppl.param("w", ops.zeros((2,))), prior=dist.Normal(ops.zeros((3,)), 1.0).to_event(1))(),
        SiteError, "initial value has shape",
    ),
    "both of hide_fn and expose_fn": (
        lambda: handlers.block(model, hide_fn=lambda site: True, expose_fn=lambda site: True), HandlerError, "got both"
    ),
    "a name hidden and exposed": (lambda: handlers.block(model, hide=["y"], expose=["y"]), HandlerError, "both hide and expose"),
}  # fmt: skip


@pytest.mark.parametrize("case", ARGUMENTS)
def test_handlers_refuse_wrong_arguments(backend, case):
    run, error, words = ARGUMENTS[case]
    with pytest.raises(error, match=words):
        run()


def test_an_empty_queue_is_refused(backend):
    from queue import LifoQueue

    with pytest.raises(HandlerError, match=r"empty.*try queue\.put"):
        handlers.queue(model, queue=LifoQueue())()
    partial = LifoQueue()
    partial.put(handlers.Trace())
    with pytest.raises(HandlerError, match="no complete trace in 1 tries"):
        handlers.queue(lambda: ppl.sample("c", dist.Bernoulli(0.5)), queue=partial, max_tries=1)()


def test_a_site_of_another_type_than_before_is_refused(backend):
    earlier = handlers.trace(lambda: ppl.param("weight", 1.0)).get_trace()
    with pytest.raises(SiteError, match="'weight' is a sample site here but a param site"):
        handlers.replay(model, trace=earlier)()

    def both():
        ppl.sample("a", dist.Normal(0.0, 1.0))
        ppl.param("a", 1.0)

    with pytest.raises(DuplicateSite, match=r"'a' is a sample site first \(Normal.*and a param site later"):
        handlers.trace(both).get_trace()


@pytest.mark.parametrize("wrap", [lambda fn: fn, lambda fn: handlers.scale(fn, scale=2.0), lambda fn: handlers.broadcast(fn)])
def test_duplicate_names_show_both_places_and_what_to_try(backend, wrap):
    def twice():
        with ppl.plate("first_plate", 2):
            ppl.sample("x", dist.Normal(0.0, 1.0))
        with ppl.plate("second_plate", 3):
            ppl.sample("x", dist.Exponential(1.0))

    with pytest.raises(DuplicateSite) as caught:
        handlers.trace(wrap(twice)).get_trace()
    text = str(caught.value)
    for words in ("'x'", "Normal(", "in plate first_plate", "Exponential(", "in plate second_plate", "ppl.plate", "ppl.markov",
                  "scope"):  # fmt: skip
        assert words in text


@pytest.mark.parametrize(("outer", "inner", "words"), [
    (("a", 2, -1), ("b", 3, -1), "plates 'a' and 'b' both use dim=-1.*try ppl.plate\\('b', 3, dim=-2\\)"),
    (("a", 2, None), ("a", 2, None), "'a' is entered twice"),
    (("a", 2, -2), ("b", 2, -2), "both use dim=-2.*dim=-1"),
])  # fmt: skip
def test_plates_that_collide_are_refused(backend, outer, inner, words):
    def nested():
        with ppl.plate(outer[0], outer[1], dim=outer[2]), ppl.plate(inner[0], inner[1], dim=inner[2]):
            ppl.sample("x", dist.Normal(0.0, 1.0))

    with pytest.raises(PlateCollision, match=words):
        nested()


def spoilt(path, change):
    """Write a file whose header is changed by ``change``."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = change(json.loads(raw[8 : 8 + length]))
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length :])


def without(name):
    return lambda header: {key: value for key, value in header.items() if key != name}


FILES = {
    "no metadata": lambda path: spoilt(path, without("__metadata__")),
    "a parameter's numbers are missing": lambda path: spoilt(path, without("scale")),
    "a header that is a list": lambda path: spoilt(path, lambda header: [header]),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a pickle": lambda path: path.write_bytes(b"\x80\x04\x95" + bytes(60)),
    "text": lambda path: path.write_text("scale = 2.0\n" * 20),
    "nothing": lambda path: path.write_bytes(b""),
    "a header longer than the file": lambda path: path.write_bytes(struct.pack("<Q", 2**62) + b"{}"),
}


@pytest.mark.parametrize("case", FILES)
def test_a_spoilt_file_leaves_the_store_untouched(backend, case, tmp_path):
    path = pathlib.Path(tmp_path) / "parameters"
    store = ppl.get_param_store()
    ppl.param("scale", 2.0, constraint=constraints.positive)
    store.save(path)
    ppl.param("later", 3.0)
    FILES[case](path)
    with pytest.raises(ParamError):
        store.load(path)
    assert sorted(store.keys()) == ["later", "scale"]
    assert float(ops.to_numpy(store["scale"])) == pytest.approx(2.0)
    assert float(ops.to_numpy(store["later"])) == pytest.approx(3.0)
