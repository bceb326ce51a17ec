"""What the README says exists, and what it asks, is there."""

import re
from pathlib import Path

import click
import pytest

from selfrepair.dagster_project.cli.main import cli
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published.read import open_serving
from selfrepair.warehouse.sql_files import relations
from tests.helpers.runs.app_runs import publish_run

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
QUERIES = re.findall(r"```sql\n(.*?)```", README, flags=re.DOTALL)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    root = tmp_path_factory.mktemp("readme")
    publish_run(root, "smollm2-135m-instruct", details=True)
    return Warehouse(root)


def test_there_are_five_queries_at_least() -> None:
    assert len(QUERIES) >= 5


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_runs(published: Warehouse, query: str) -> None:
    with open_serving(published) as connection:
        described = connection.execute(query).description
    header = README.split(query)[1].split("\n| ---")[0].strip().splitlines()[-1]
    shown = [name.strip() for name in header.strip("| ").split("|")]
    assert shown == [column[0] for column in described or []]


def test_every_command_and_option_is_there() -> None:
    context = click.Context(cli)
    names = "|".join(cli.commands)
    for line in re.findall(rf"selfrepair ((?:{names})[^\n`]*)", README):
        name, *rest = line.split()
        command = cli.get_command(context, name)
        assert command is not None, name
        known = {option for parameter in command.params for option in parameter.opts}
        known |= {option for parameter in command.params for option in parameter.secondary_opts}
        assert {word for word in rest if word.startswith("--")} <= known | {"--help"}, line


def test_every_command_is_in_the_readme() -> None:
    for name in cli.commands:
        assert f"selfrepair {name}" in README or f"`{name}`" in README, name


def test_every_make_target_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"(?:`|\$ )make ([a-z-]+)", README)):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_every_file_is_there() -> None:
    tree = README.split("## Where is what")[1].split("##")[0]
    for name in re.findall(
        r"`((?:selfrepair_assets|sql|tests|app|warehouse|dagster_project)/[a-z_/.]*)`", tree
    ):
        if name != "warehouse/data/":
            assert (ROOT / name).exists(), name


def test_every_view_has_a_meaning() -> None:
    """`relations()` refuses a file without a grain; publishing refuses a column without one."""
    assert {found.kind for found in relations()} == {"table", "stored", "view", "macro", "check"}
