"""Literal rows of one head, all of them kept: what the views of details are asked about."""

from typing import Any

# One head with four rows in two sequences, all of them kept; a last MLP layer of four neurons.
PLACES = [(0, 0), (0, 1), (1, 0), (1, 1)]
RUNS = [{"top_fraction": 1.0, "d_mlp": 4, "n_layers": 2, "n_heads": 2}]
LAST_MLP = [
    {"layer": 1, "sequence": s, "position": p, "direct_effect": 10.0 * s + p} for s, p in PLACES
]


def rows_of(effects: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)) -> list[dict[str, Any]]:
    return [
        {"sequence": s, "position": p, "direct_effect": effect, "logit_change": -effect}
        for (s, p), effect in zip(PLACES, effects, strict=True)
    ]


def kept(**columns: list[Any]) -> list[dict[str, Any]]:
    """Rows of a table of details at `PLACES`, of the head's resample ablation."""
    place = {"ablation": "resample", "layer": 0, "head": 0}
    return [
        place
        | {"sequence": s, "position": p}
        | {name: column[i] for name, column in columns.items()}
        for i, (s, p) in enumerate(PLACES)
    ]
