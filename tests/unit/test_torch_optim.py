"""The fused rules on torch, which take the layout of a gradient for granted: beside torch.optim's plain ones."""

import pytest

torch = pytest.importorskip("torch")

from ppl import optim, registry  # noqa: E402

LAYOUTS = {
    "as they come": lambda x: x.clone(),
    "transposed": lambda x: x.T.contiguous().T,
    "every other column": lambda x: x.repeat_interleave(2, dim=1)[:, ::2],
}
RULES = {"Adam": torch.optim.Adam, "AdamW": torch.optim.AdamW}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("gradients", LAYOUTS)
@pytest.mark.parametrize("params", LAYOUTS)
def test_fused_rules_whatever_the_layout(rule, params, gradients):
    generator = torch.Generator().manual_seed(0)
    start = torch.arange(12.0).reshape(3, 4)
    ours, theirs = LAYOUTS[params](start).requires_grad_(), start.clone().requires_grad_()
    plain = RULES[rule]([theirs], lr=0.1, fused=False, foreach=False)
    with registry.using("torch"):
        optimizer = getattr(optim, rule)({"lr": 0.1, "weight_decay": plain.defaults["weight_decay"]})
        for _ in range(5):
            gradient = torch.randn((3, 4), generator=generator)
            theirs.grad = gradient.clone()
            plain.step()
            optimizer.step({"x": LAYOUTS[gradients](gradient)}, {"x": ours})
    torch.testing.assert_close(ours.detach(), theirs.detach(), rtol=0.0, atol=1e-6)


def test_a_param_may_change_its_layout_between_steps():
    start = torch.arange(12.0).reshape(3, 4)
    ours, theirs = start.clone().requires_grad_(), start.clone().requires_grad_()
    plain = torch.optim.Adam([theirs], lr=0.1, fused=False, foreach=False)
    with registry.using("torch"):
        optimizer = optim.Adam({"lr": 0.1})
        for count in range(4):
            if count == 2:
                ours.data = LAYOUTS["transposed"](ours.data)
            theirs.grad = start.cos() + count
            plain.step()
            optimizer.step({"x": start.cos() + count}, {"x": ours})
    torch.testing.assert_close(ours.detach(), theirs.detach(), rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_params_of_several_types_and_one_that_appears_later(rule):
    starts = {"a": torch.tensor(0.5), "b": torch.arange(4.0, dtype=torch.float64), "c": torch.ones((2, 3))}
    ours = {name: start.clone().requires_grad_() for name, start in starts.items()}
    theirs = {name: start.clone().requires_grad_() for name, start in starts.items()}
    arguments = {"lr": 0.1, "amsgrad": True, "weight_decay": 0.01}
    plain = {name: RULES[rule]([theirs[name]], fused=False, foreach=False, **arguments) for name in starts}
    with registry.using("torch"):
        optimizer = getattr(optim, rule)(arguments)
        for count in range(6):
            names = "ab" if count < 2 else "abc"
            for name in names:
                theirs[name].grad = (starts[name] + count).cos() + 2.0
                plain[name].step()
            gradients = {name: (starts[name] + count).cos() + 2.0 for name in names}
            optimizer.step(gradients, {name: ours[name] for name in names})
    for name, moved in ours.items():
        torch.testing.assert_close(moved.detach(), theirs[name].detach(), rtol=0.0, atol=1e-6)
        assert (moved.detach() - starts[name]).abs().min() > 0.1
