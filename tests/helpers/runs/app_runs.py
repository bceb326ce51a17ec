"""Small published warehouses for the tests of the app, and a page of the app opened over one."""

from pathlib import Path
from typing import Any

from streamlit.testing.v1 import AppTest

import selfrepair.app.main
from selfrepair.app.questions import queries
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published.publish import publish
from tests.helpers.runs.detail_facts import write_details
from tests.helpers.runs.small_run import run_row, write_run

PAGES = [name for section in selfrepair.app.main.PAGES.values() for name, *_ in section]
ABLATIONS = ["resample", "mean", "zero"]

WHY = "not labelled: the text is 6 sequences and a yes or no needs 10 of them or more"
"""What the app says of a run of six sequences, each a document."""


def publish_run(root: Path, run_id: str = "toy", *, details: bool = False, **changes: Any) -> None:
    """Measures made-up numbers of one run and publishes them."""
    options: dict[str, Any] = {
        "n_layers": 3,
        "n_heads": 2,
        "n_sequences": 6,
        "sequence_length": 9,
        "ablations": ABLATIONS,
        "top_fraction": 0.1,
    }
    options.update(changes)
    n_layers = options["n_layers"]
    warehouse = Warehouse(root).prepare()
    row = run_row(
        run_id,
        layer_precision=["fp32"] * n_layers,
        precision_error=[None] * n_layers,
        **options,
    )
    write_run(warehouse, row, shard=row["n_sequences"])
    if details:
        write_details(warehouse, row, [(layer, 0) for layer in range(n_layers - 1)])
    publish(warehouse, row)


def generation_of(root: Path) -> queries.Generation:
    found = queries.newest_generation(str(root))
    assert found is not None
    return found


def page(root: Path, name: str, monkeypatch: Any, **chosen: str) -> AppTest:
    """The page, run once over the warehouse in `root`, with the address' parameters `chosen`."""
    monkeypatch.setenv("SELFREPAIR_WAREHOUSE", str(root))
    return page_to_run(name, **chosen).run()


def page_to_run(name: str, **chosen: str) -> AppTest:
    """The page, not run yet, over the warehouse that the environment names."""
    test = AppTest.from_file(selfrepair.app.main.__file__, default_timeout=60)
    for key, value in chosen.items():
        test.query_params[key] = value
    if name != "overview":
        test.switch_page(f"app_pages/{name}.py")
    return test


def said(test: AppTest) -> str:
    """All text of a page, for looking something up in it."""
    kinds = ("title", "subheader", "markdown", "caption", "info", "error", "metric", "text", "code")
    return "\n".join(
        f"{getattr(one, 'label', '')} {getattr(one, 'value', '')}"
        for kind in kinds
        for one in test.get(kind)
    )


def sound(test: AppTest) -> AppTest:
    """The page, if nothing went wrong on it."""
    assert not test.exception, [one.value for one in test.exception]
    assert not test.error, [one.value for one in test.error]
    return test
