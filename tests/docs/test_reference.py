"""The reference page in docs/ says what sql/ says, and nothing is left out."""

from pathlib import Path

from selfrepair.warehouse.sql_files import relations
from selfrepair.warehouse.sql_reference import page

PAGE = Path(__file__).parents[2] / "docs" / "reference.md"


def test_the_page_is_what_sql_says() -> None:
    assert PAGE.read_text() == page(), (
        "write it anew: python -m selfrepair.warehouse.sql_reference > docs/reference.md"
    )


def test_every_relation_has_an_entry() -> None:
    found = relations()
    assert {one.kind for one in found} == {"table", "stored", "view", "macro", "check"}
    lines = set(PAGE.read_text().splitlines())
    assert {f"### {one.name}" for one in found} <= lines


def test_a_column_with_its_type_and_meaning() -> None:
    lines = PAGE.read_text().splitlines()
    entry = lines[lines.index("### head_ablations") : lines.index("### mlp_effects")]
    meaning = "ablated logit of the target minus its clean logit (logits)"
    assert f"| `logit_change` | float | {meaning} |" in entry
