"""What a call of compiled code costs on torch: the compiler behind torch.compile called directly, against torch.compile.

    python benchmarks/torch_compile.py [--write]

The function is one step of a sampler in small: a gradient, an energy and a choice on four chains of ten dimensions.
"""

import argparse
import importlib
import statistics
import time

from common import machine, number, write

CALLS, REPEATS = 2000, 7


def functions():
    import torch
    from torch.fx.experimental.proxy_tensor import make_fx

    torch.set_num_threads(1)

    def step(points, numbers, scale, uniform):
        position, momentum, gradient = points.unbind()
        momentum = momentum - 0.1 * gradient
        position = position + 0.1 * momentum * scale
        gradient = torch.tanh(position) * scale
        energy = torch.log(torch.cosh(position)).sum(-1) + 0.5 * (momentum * momentum).sum(-1)
        chosen = uniform < numbers[0] - energy
        numbers = torch.stack([torch.where(chosen, energy, numbers[0]), energy])
        return torch.stack([position, momentum, gradient]), numbers, chosen.any()

    inputs = [torch.randn(3, 4, 10), torch.randn(2, 4), torch.rand(10), torch.rand(4)]
    graph = make_fx(step)(*inputs)
    direct = importlib.import_module("torch._inductor").compile(graph, inputs, options={"size_asserts": False})
    return {"direct": direct, "torch.compile": torch.compile(graph, dynamic=False), "recorded graph": graph}, inputs


def microseconds(function, inputs):
    began = time.perf_counter()
    for _ in range(CALLS):
        function(*inputs)
    return (time.perf_counter() - began) / CALLS * 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="replace the table in README.md")
    options = parser.parse_args()
    import torch

    found, inputs = functions()
    times = {name: [] for name in found}
    with torch.no_grad():
        for function in found.values():
            function(*inputs)
        for _ in range(REPEATS):
            for name, function in found.items():
                times[name].append(microseconds(function, inputs))
    lines = ["| way | us a call | direct / way |", "|---|---:|---:|"]
    for name, values in times.items():
        ratio = statistics.median(ours / its for ours, its in zip(times["direct"], values, strict=True))
        lines.append(f"| {name} | {number(statistics.median(values))} | {number(ratio)} |")
    text = "\n".join([f"Calls of one compiled step, medians of {REPEATS} alternating runs; {machine()}.", "", *lines])
    print(text)
    if options.write:
        write("torch compile", text)


if __name__ == "__main__":
    main()
