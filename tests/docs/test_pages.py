"""What the README and the pages in docs/ say exists is there, and what they ask is answered."""

import importlib.util
import re
from pathlib import Path

import click
import pytest

from selfrepair.dagster_project.cli.main import cli
from selfrepair.warehouse.paths import Warehouse
from selfrepair.warehouse.published.read import open_serving
from tests.helpers.runs.app_runs import publish_run

ROOT = Path(__file__).parents[2]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/*.md"))]
}
QUERIES = [
    (name, query)
    for name, text in PAGES.items()
    for query in re.findall(r"```sql\n(.*?)```", text, flags=re.DOTALL)
]
FOLDERS = "selfrepair_assets|sql|tests|app|warehouse|dagster_project|docs"
NOT_THERE_YET = {"warehouse/data/", "warehouse/data/selfrepair.duckdb"}  # what a run makes


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    root = tmp_path_factory.mktemp("pages")
    publish_run(root, "smollm2-135m-instruct", details=True)
    return Warehouse(root)


def test_the_readme_asks_three_questions_on_two_screens() -> None:
    assert [name for name, _ in QUERIES].count("README.md") == 3
    assert len(PAGES["README.md"].splitlines()) <= 150


@pytest.mark.parametrize(("name", "query"), QUERIES)
def test_every_query_is_answered_with_these_columns(
    published: Warehouse, name: str, query: str
) -> None:
    with open_serving(published) as connection:
        described = connection.execute(query).description
    answer = PAGES[name].split(query)[1].removeprefix("```").lstrip()
    assert answer.startswith("|"), f"{name}: a query stands without its answer"
    shown = [column.strip() for column in answer.splitlines()[0].strip("| ").split("|")]
    assert shown == [column[0] for column in described or []]


@pytest.mark.parametrize("name", PAGES)
def test_every_command_and_option_is_there(name: str) -> None:
    context = click.Context(cli)
    names = "|".join(cli.commands)
    for line in re.findall(rf"selfrepair ((?:{names})\b[^\n`]*)", PAGES[name]):
        command_name, *rest = line.split()
        command = cli.get_command(context, command_name)
        assert command is not None, command_name
        known = {option for parameter in command.params for option in parameter.opts}
        known |= {option for parameter in command.params for option in parameter.secondary_opts}
        assert {word for word in rest if word.startswith("--")} <= known | {"--help"}, line


def test_every_command_is_on_a_page() -> None:
    text = "\n".join(PAGES.values())
    for name in cli.commands:
        assert f"selfrepair {name}" in text or f"`{name}`" in text, name


@pytest.mark.parametrize("name", PAGES)
def test_every_make_target_is_there(name: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"(?:`|\$ )make ([a-z-]+)", PAGES[name])):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


@pytest.mark.parametrize("name", PAGES)
def test_every_module_that_is_run_is_there(name: str) -> None:
    for module in set(re.findall(r"python -m ([\w.]+\w)", PAGES[name])):
        assert importlib.util.find_spec(module) is not None, module


@pytest.mark.parametrize("name", PAGES)
def test_every_path_is_there(name: str) -> None:
    """In code spans from the root, a `<name>` in them for any; and links from the page's folder."""
    for path in re.findall(rf"`((?:{FOLDERS})/[\w/.<>*-]*)(?=[` ])", PAGES[name]):
        pattern = re.sub(r"<\w+>", "*", path).rstrip("/")
        assert path in NOT_THERE_YET or list(ROOT.glob(pattern)), path
    for link in re.findall(r"\]\(([^)#:]+)\)", PAGES[name]):
        assert ((ROOT / name).parent / link).exists(), link


def test_every_page_is_linked_from_the_readme() -> None:
    for name in PAGES:
        assert name == "README.md" or f"]({name})" in PAGES["README.md"], name
