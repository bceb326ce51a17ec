"""The options of `selfrepair run`, made from those that `RunSpec` defines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from selfrepair_assets.measurement.options import AUTO, Option
from selfrepair_assets.measurement.run_spec import OPTIONS


class _Typed(click.ParamType):
    """A list with commas between its items, or a number that may be `auto`."""

    name = "text"

    def __init__(self, found: Option) -> None:
        self.found = found

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        found = self.found
        try:
            if found.is_list:
                items = (item.strip() for item in value.split(",") if item.strip())
                return tuple(map(found.value_type, items))
            return None if value == AUTO else found.value_type(value)
        except ValueError:
            wanted = (
                f"numbers, as in {found.typed(found.default)}"
                if found.is_list
                else f"a number of sequences, or {AUTO}"
            )
            raise click.BadParameter(wanted, param_hint=found.flag) from None


Command = Callable[..., Any]


def run_options(*, required: bool = True) -> Callable[[Command], Command]:
    """Gives a command one argument or option for each of `OPTIONS`, under its name.

    required: whether the argument, the model, must be given.
    """

    def give(command: Command) -> Command:
        for found in reversed(OPTIONS.values()):
            command = _declared(found, required)(command)
        return command

    return give


def _declared(found: Option, required: bool) -> Callable[[Command], Command]:
    if found.is_argument:
        return click.argument(found.name, required=required)
    names = found.flag
    if found.value_type is bool:
        names += found.flag.replace("--", "/--no-", 1)
    has_own_type = found.is_list or found.unset == AUTO
    return click.option(
        names,
        type=_Typed(found) if has_own_type else found.value_type,
        default=found.typed(found.default) if found.is_list else found.default,
        show_default=not found.unset,
        metavar=found.metavar,
        help=found.explained,
    )
