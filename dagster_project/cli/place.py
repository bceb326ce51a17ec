"""The option that every command has: which warehouse."""

import click

from selfrepair.warehouse.paths import DEFAULT_ROOT

WAREHOUSE = click.option(
    "--warehouse",
    "root",
    metavar="DIR",
    envvar="SELFREPAIR_WAREHOUSE",
    default=str(DEFAULT_ROOT),
    show_default=True,
    help="The warehouse's folder; also $SELFREPAIR_WAREHOUSE.",
)
