"""What a paper says of how a run was measured, in words, and whom it cites."""

from collections import Counter
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import pandas as pd

from selfrepair_assets.measurement.ablations import ABLATIONS

PAPER = """\
@inproceedings{rushing2024explorations,
  title     = {Explorations of Self-Repair in Language Models},
  author    = {Rushing, Cody and Nanda, Neel},
  booktitle = {Proceedings of the 41st International Conference on Machine Learning},
  series    = {Proceedings of Machine Learning Research},
  volume    = {235},
  pages     = {42836--42855},
  year      = {2024},
  publisher = {PMLR},
  eprint    = {2402.15390},
  eprinttype = {arXiv},
}"""
MULTIPLIED = {"bf16_fp32": "in bf16 with sums kept in fp32"}
"""A precision in words, where its name says too little."""
SOFTWARE = """\
@software{{selfrepair,
  author  = {{{{The selfrepair contributors}}}},
  title   = {{selfrepair: a data warehouse of self-repair in language models}},
  version = {{{version}}},
  year    = {{{year}}},
  license = {{Apache-2.0}},
}}"""


def methods(run: Mapping[str, Any], clusters: Mapping[str, Any]) -> str:
    """Methods text, every setting, the versions, and the BibTeX of the paper and of this software.

    run: its row of `runs`. clusters: its row of `run_clusters`.
    """
    return "\n\n".join(
        [
            _text(run, clusters),
            "Settings\n" + "\n".join(_settings(run)),
            "Versions: "
            + ", ".join(f"{k} {v}" for k, v in sorted(_pairs(run["versions"]).items())),
            PAPER,
            SOFTWARE.format(version=_version(run), year=run["finished_at"].year),
        ]
    )


def _text(run: Mapping[str, Any], clusters: Mapping[str, Any]) -> str:
    heads = run["n_layers"] * run["n_heads"]
    ablated = f"all {heads:,}" if not _known(run["heads"]) else f"{len(run['heads'])} of {heads:,}"
    revision = f", revision {run['revision']}" if _known(run["revision"]) else ""
    weights = f", weights SHA-256 {run['weights_sha256']}" if _known(run["weights_sha256"]) else ""
    measured = run["n_sequences_measured"]
    n = int(measured) if _known(measured) else int(run["n_sequences"])
    drawn = f" ({run['drawn_from']})" if _known(run["drawn_from"]) else ""
    how = {
        "random": f"drawn at random (seed {run['seed']}) from",
        "head": "the first of",
    }.get(run["sample"] if _known(run["sample"]) else "head")
    kinds = "; ".join(
        f"{name} ablation replaces it by {ABLATIONS[name].replaced_by}"
        for name in run["ablations"]
        if name in ABLATIONS
    )
    norm = "RMSNorm" if run["normalization"] == "RMS" else "LayerNorm"
    has_post_norm = _known(run["post_norm"]) and run["post_norm"]
    post_norm = "what the norm behind the head's own layer gives back, " if has_post_norm else ""
    centred = "centred over the vocabulary" if run["center_unembed"] else "not centred"
    return (
        f"We measured the self-repair of {ablated} attention heads of {run['model']} "
        f"({run['architecture']}, {run['n_layers']} layers of {run['n_heads']} heads{revision}"
        f"{weights}) with selfrepair {_version(run)} [selfrepair], after Rushing and Nanda "
        f"(2024) [rushing2024explorations]. The text is {n:,} sequences of "
        f"{run['sequence_length']} tokens, {how} the corpus {run['corpus']}{drawn}: "
        f"{run['n_tokens']:,} predictions in all. "
        f"Each head was ablated at every position of a sequence at once, in what it writes before "
        f"its output matrix (z): {kinds}. A direct effect is the component's output times the "
        "unembedding direction of the target token, divided by the clean run's final "
        f"{norm} scale; logits are {centred}. Self-repair is the change of the target's logit less "
        "the change of the head's own direct effect; it is split into the changes in direct effect "
        f"of later heads and MLP layers, {post_norm}and the rest, which the final {norm} does. "
        "Means are over "
        f"each head's top {100 * run['top_fraction']:g} % tokens by direct effect. Standard errors "
        f"are by {clusters['clustered_by']} ({clusters['n_clusters']:,}), and count that the top "
        f"tokens are selected. {_precision(run)} It was computed on {run['device']}."
    )


def _version(run: Mapping[str, Any]) -> str:
    """Of this software, as it measured the run; an older run does not say, and has the one here."""
    return _pairs(run["versions"]).get("selfrepair") or version("selfrepair")


def _precision(run: Mapping[str, Any]) -> str:
    """What was computed in which precision."""
    layers = list(run["layer_precision"]) if _known(run["layer_precision"]) else []
    fast = Counter(precision for precision in layers if precision != "fp32")
    if not fast:
        return "All was computed in fp32."
    errors = run["precision_error"] if _known(run["precision_error"]) else [None] * len(layers)
    seen = [e for p, e in zip(layers, errors, strict=True) if p != "fp32" and _known(e)]
    worst = (
        f" (error seen on rows measured both ways: {max(seen):.2%} of the logit changes in the "
        "worst layer)"
        if seen
        else ""
    )
    counts = " and ".join(
        f"{MULTIPLIED.get(precision, f'in {precision}')} for the heads of {n}"
        for precision, n in fast.items()
    )
    return (
        f"Changes were multiplied {counts} of {len(layers)} layers{worst.replace('%', ' %')}, and "
        "all else was computed in fp32."
    )


def _settings(run: Mapping[str, Any]) -> list[str]:
    """Each setting, a line, as `name: value`; options that were left to the run say so."""
    known = {
        key: value
        for key, value in run.items()
        if key not in ("options", "versions", "layer_precision", "precision_error")
    }
    known |= {
        key: "left to the run" if value is None else value
        for key, value in _pairs(run["options"]).items()
        if key not in known
    }
    return [f"  {key}: {value}" for key, value in known.items() if _known(value)]


def _pairs(given: Any) -> dict[str, Any]:
    """A map of DuckDB's; none where an older run has none."""
    return dict(given) if _known(given) else {}


def _known(value: Any) -> bool:
    """Whether a value of a row is there."""
    return value is not None and not (pd.api.types.is_scalar(value) and pd.isna(value))
