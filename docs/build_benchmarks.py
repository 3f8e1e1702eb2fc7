"""The page of the benchmarks: pictures of the stored figures, then the figures."""

import re

from matplotlib import rc_context
from matplotlib.figure import Figure

# Two sets of pictures: for readers with a light and with a dark screen.
INKS = {
    "light": {"text": "#30363d", "ours": "#1d5b8f", "peers": "#b6bdc6"},
    "dark": {"text": "#d0d4da", "ours": "#5aa2dc", "peers": "#5c646e"},
}
POSTERIORS = ("Eight schools", "Regression 434", "Logistic 10000 x 20")
# picture: what its bars measure, the part of the page, the tables of the part, and the column
PICTURES = {
    "sampling": ("effective draws a second, warm (more is better)", "mcmc", POSTERIORS, "ESS/s warm"),
    "start": ("effective draws a second, cold (more is better)", "mcmc", POSTERIORS, "ESS/s cold"),
    "steps": ("microseconds a step (less is better)", "svi", ("SVI, full batch", "SVI, 256 of 10000 rows"), "µs a step"),
    "enumeration": ("microseconds a step (less is better)", "enumeration", ("",), "µs a step"),
}  # fmt: skip
TEXT = {
    "sampling": (
        "NUTS, effective draws a second",
        """Four chains of 1000 draws: the smallest bulk effective sample size over the seconds of a second run in the same
process. The scale is logarithmic. Pyro took 100 draws, since 1000 take it hours on the regression.""",
    ),
    "start": (
        "NUTS, counted from the start of the process",
        """The same draws over the seconds that a user waits: imports, compilation, sampling and summary of a fresh process.""",
    ),
    "steps": (
        "Variational inference",
        """A mean-field guide of a logistic regression of 10000 rows and 20 predictors, with all rows in each step and with 256 of
them.""",
    ),
    "enumeration": (
        "Enumeration",
        """A hidden Markov model of 8 states and 50 steps in a `ppl.markov` loop, its states summed out.""",
    ),
}
INTRODUCTION = """For readers who want to know what a run will cost, and how the figures were measured. Blue bars are this
library, grey ones its peers. Each picture is drawn from the tables below, which one run on one machine of 2 cores wrote."""


def tables(text, part):
    """Return the rows of the libraries below each heading of a part: heading to ``{library: {column: cell}}``."""
    found, heading, columns = {}, "", None
    for line in text.split(f"<!-- {part}: begin -->")[1].split(f"<!-- {part}: end -->")[0].splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("#"):
            heading = line.strip("# ")
        elif line.startswith("| library |"):
            columns = cells
        elif columns and line.startswith("|"):
            if not set(line) <= set("|-:"):
                found.setdefault(heading, {})[cells[0]] = dict(zip(columns, cells, strict=False))
        else:
            columns = None
    return found


def bars(text, part, heading, column):
    """Return ``(library, figure)`` of each row whose cell is a number."""
    cells = {library: row[column] for library, row in tables(text, part)[heading].items()}
    return [
        (re.sub(r" [\d.]+$", "", library), float(cell))
        for library, cell in cells.items()
        if re.fullmatch(r"[\d.]+", cell) and "scan" not in library
    ]


def picture(text, name, ink):
    """Return one picture: a panel a table, a bar a library."""
    what, part, headings, column = PICTURES[name]
    panels = [bars(text, part, heading, column) for heading in headings]
    heights = [0.55 + 0.3 * len(panel) for panel in panels]
    figure = Figure(figsize=(7.6, sum(heights) + 0.4), layout="constrained")
    for axes, heading, panel in zip(
        figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0], headings, panels, strict=True
    ):
        libraries, figures = zip(*reversed(panel), strict=True)
        drawn = axes.barh(
            libraries, figures, color=[ink["ours" if library.startswith("ppl ") else "peers"] for library in libraries]
        )
        axes.bar_label(
            drawn, [f"{figure:,.3g}" if figure < 1000 else f"{figure:,.0f}" for figure in figures], padding=4, color=ink["text"]
        )
        axes.set_xscale("log")
        axes.set_xlim(min(figures) / 3, max(figures) * 4)
        axes.set_title(heading, loc="left", color=ink["text"], fontsize=11, fontweight="bold")
        axes.tick_params(colors=ink["text"], length=0)
        axes.tick_params(axis="x", which="both", bottom=False, labelbottom=False)
        axes.spines[:].set_visible(False)
    figure.supxlabel(what, color=ink["text"], fontsize=10)
    return figure


def draw(text, folder):
    """Write each picture in both inks below ``folder``."""
    folder.mkdir(parents=True)
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "ppl", "font.family": "sans-serif", "font.size": 10}):
        for name in PICTURES:
            for shade, ink in INKS.items():
                figure = picture(text, name, ink)
                figure.savefig(folder / f"{name}-{shade}.svg", transparent=True, metadata={"Date": None})


def benchmark_page(text):
    """Return the page: the pictures above the text of ``benchmarks/README.md``."""
    lines = ["# Benchmarks", "", INTRODUCTION, ""]
    for name, (title, explanation) in TEXT.items():
        lines += [f"## {title}", "", explanation, ""]
        for shade in INKS:
            lines += [
                f"```{{image}} pictures/{name}-{shade}.svg",
                f":alt: {title}: {PICTURES[name][0]}",
                f":class: only-{shade}",
                "```",
                "",
            ]
    body = text.split("\n", 1)[1]
    lines += [
        "Next: [the inference guide](../docs/inference.md) says which algorithm to take.",
        "",
        "## How it was measured",
        body,
    ]
    return "\n".join(lines)
