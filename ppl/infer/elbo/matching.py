"""Checks that a guide proposes what the model asks for: the same sites, of the same shapes, in the same space."""

from __future__ import annotations

from typing import Any

from ppl.errors import InferenceError
from ppl.infer.latents import is_latent
from ppl.infer.proposal import check_site
from ppl.typing import Message


def check_match(model_trace: Any, guide_trace: Any) -> None:
    """Raise unless the guide proposes exactly the latent sites of the model, each of its shape and within its support.

    :raises InferenceError: names the first site that one of them lacks, and lists both; or a site whose supports differ.
    :raises ShapeError: names a site whose shapes differ, and both shapes.
    """
    # What is enumerated in the model needs no site in the guide.
    in_model = {name for name, site in model_trace.nodes.items() if is_latent(site) and not _is_summed(name, site, guide_trace)}
    in_guide = {name for name, site in guide_trace.nodes.items() if is_latent(site) and not site["infer"].get("is_auxiliary")}
    if in_model != in_guide:
        _explain_sites(model_trace, in_model, in_guide)
    for name, proposed in guide_trace.nodes.items():
        if name in in_model:
            check_site(name, proposed, model_trace.nodes[name], (model_trace, guide_trace))


def _explain_sites(model_trace: Any, in_model: set[str], in_guide: set[str]) -> None:
    lists = f"latent sites of the model: {sorted(in_model)}; sites of the guide: {sorted(in_guide)}"
    extra = sorted(in_guide - in_model)
    if extra:
        observed = {name for name, site in model_trace.nodes.items() if site["type"] == "sample" and site["is_observed"]}
        why = "observes" if extra[0] in observed else "does not have"
        raise InferenceError(
            f"the guide samples {extra[0]!r}, which the model {why}; {lists}; "
            "try to drop it, or mark it infer={'is_auxiliary': True}"
        )
    missing = sorted(in_model - in_guide)
    advice = "try to sample it in the guide, or to observe it in the model"
    if getattr(model_trace.nodes[missing[0]]["fn"], "is_discrete", False):
        advice += (
            "; it is discrete, and this loss neither enumerates it nor has a score function for it without a guide site: "
            "TraceEnum_ELBO sums it out if the model marks it with infer={'enumerate': 'parallel'}"
        )
    raise InferenceError(f"the guide lacks {missing[0]!r}, a latent site of the model; {lists}; {advice}")


def _is_summed(name: str, site: Message, guide_trace: Any) -> bool:
    return "_enumerate_dim" in site["infer"] and name not in guide_trace
