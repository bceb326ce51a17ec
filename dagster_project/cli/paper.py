"""`selfrepair figure` and `cite`: what a paper needs of a run, by the library's own methods."""

from __future__ import annotations

from typing import Any

import click

from selfrepair import extras
from selfrepair.dagster_project.cli.place import WAREHOUSE


@click.command("figure")
@click.argument("run_id", metavar="RUN")
@click.argument("figure")
@click.option("--head", metavar="L9H9", help="Of a figure of one head; default the most repaired.")
@click.option("--ablation", help="Default resample, where the run has it.")
@click.option(
    "--width",
    type=click.Choice(["column", "double"]),
    default="column",
    show_default=True,
    help="column: 3.25 inches. double: 6.75.",
)
@click.option("--output", default=".", show_default=True, metavar="DIR", help="The folder.")
@click.option(
    "--choose",
    "choices",
    multiple=True,
    metavar="NAME=VALUE",
    help='What else can be chosen of the figure, such as rows="all tokens"; may be repeated.',
)
@WAREHOUSE
def figure(root: str, run_id: str, choices: tuple[str, ...], **asked: Any) -> None:
    """Write a FIGURE of RUN for a paper: SVG, PDF, caption, and the Python that draws it.

    FIGURE is a number of the paper's, such as 8, or a name; the files' names say run, head,
    ablation and figure.
    """
    extras.require("paper", "a figure for a paper")
    chosen = dict(_chosen(choice) for choice in choices)
    from selfrepair.library.opened import open as opened

    with opened(root) as warehouse:
        paths = warehouse.save_figure(asked.pop("figure"), run_id, **asked, **chosen)
    for path in paths:
        click.echo(path)


@click.command("cite")
@click.argument("run_id", metavar="MODEL")
@WAREHOUSE
def cite(root: str, run_id: str) -> None:
    """Print how MODEL's run was measured, for a paper: methods text, settings, versions, BibTeX."""
    from selfrepair.library.opened import open as opened

    with opened(root) as warehouse:
        click.echo(warehouse.cite(run_id))


def _chosen(text: str) -> tuple[str, Any]:
    """`name=value`; digits are a number, and runs, which are several, stand between commas."""
    name, equals, value = text.partition("=")
    if not equals:
        raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--choose")
    if name == "runs":
        return name, value.split(",")
    return name, int(value) if value.isdecimal() and len(value) < 10 else value
