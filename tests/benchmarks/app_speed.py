"""How long the app's pages take over a warehouse: at first, after each click, and in memory.

    python -m tests.benchmarks.app_speed --warehouse /some/folder --run bench --head L5H4

The warehouse is one that `query_speed` has made. Each page is run as the server would run it: with
nothing cached and no connection open for its first view, and then as it is after one choice on it
was changed. Prints a table in Markdown. What the browser draws afterwards is not in it.
"""

import argparse
import os
import resource
import time

import streamlit as st

from selfrepair.warehouse.paths import Warehouse
from tests.helpers.runs.app_runs import page_to_run, sound

CLICKS: dict[str, list[dict[str, str]]] = {
    "overview": [{}],
    "across_models": [{"figure": "6"}, {"figure": "10"}, {"figure": "11"}],
    "model": [{"quantity": "logit_change"}, {"all": "True"}],
    "head": [
        {"rows": "all tokens"},
        {"rows": "all tokens", "order": "smallest self-repair"},
        {"rows": "all tokens", "order": "largest fall of the logit", "page": "3"},
        {"rows": "all tokens", "kind": "overcorrected"},
        {"rows": "all tokens", "find": "the"},
        {"page": "2"},
        {"instance": "17:40"},
        *({"view": view} for view in ("Scatter", "Parts", "Spread", "LayerNorm", "Ablations")),
        {"view": "Spread", "spread": "all tokens"},
        {"head": "L11H8"},
        {"head": "L0H0"},
    ],
    "trust": [{"trust_rows": "top by direct effect"}],
    "neurons": [{"ranking": "direct effect"}, {"head": "L11H8"}],
    "self_reinforcement": [{"reinforced": "L8H3"}],
    "paper": [{"figure": str(number)} for number in (3, 5, 7, 8, 9, 12, 16)],
    "sql": [{"relation": "tokens"}],
    "glossary": [{"head": "L11H8"}, {"head": "L0H0"}, {"term": "hidden"}],
}


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--warehouse", required=True)
    asked.add_argument("--run", default="bench")
    asked.add_argument("--head", default="L5H4")
    options = asked.parse_args()
    os.environ["SELFREPAIR_WAREHOUSE"] = str(Warehouse(options.warehouse).root)
    known = {"run": options.run, "head": options.head}
    print("| page | first view | slowest click after it | which |\n| --- | --- | --- | --- |")
    for page, clicks in CLICKS.items():
        st.cache_data.clear()
        st.cache_resource.clear()
        first = seconds(page, known)
        found = [(seconds(page, known | click), click) for click in clicks]
        slowest, which = max(found, key=lambda pair: pair[0])
        chosen = ", ".join(f"{name} {value}" for name, value in which.items())
        print(f"| {page} | {first:.2f} s | {slowest:.2f} s | {chosen} |", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"| memory at most | {peak / 1e9:.2f} GB | | |")


def seconds(page: str, chosen: dict[str, str]) -> float:
    """Runs a page with these choices in its address."""
    visit = page_to_run(page, **chosen)
    began = time.monotonic()
    visit.run()
    took = time.monotonic() - began
    sound(visit)
    return took


if __name__ == "__main__":
    main()
