"""How an option of a run is defined: once, as a field of `RunSpec`.

A field has the option's name, type and default; `option` adds its help, its bounds and what it is
part of. The command line, the Launchpad, the fingerprint of a run and the column `runs.options`
derive theirs from that, so that a new option is one field.
"""

from __future__ import annotations

import math
from dataclasses import MISSING, dataclass, field, fields, replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from selfrepair_assets.measurement.errors import InputError

MOST = 10**12  # tokens, and any other number
LONGEST = 1_000  # characters of a name; a file system takes 4,096 bytes of a path
AUTO = "auto"
"""What a number may be left to the run with, by that word, beside leaving it out."""


@dataclass(frozen=True)
class Option:
    """What is known of one option.

    Attributes:
        help: what it is, in one sentence that `selfrepair run --help` and the Launchpad show.
        unset: what is taken where it is None, in words; empty where it has a default.
        choices: the words that it may be, or that it may list; empty for any.
        least: the least number that it may be.
        metavar: what stands for its value in the command's help; None: its type.
        decides_numbers: whether the numbers of a run depend on it.
        in_launchpad: whether it is asked there; a partition's name tells a model and its revision.
        name, type, default: of the field.
    """

    help: str
    unset: str = ""
    choices: tuple[str, ...] = ()
    least: int | None = None
    metavar: str | None = None
    decides_numbers: bool = True
    in_launchpad: bool = True
    name: str = ""
    type: Any = None
    default: Any = None

    @property
    def flag(self) -> str:
        """As it is typed, `--batch-size`."""
        return "MODEL" if self.is_argument else "--" + self.name.replace("_", "-")

    @property
    def is_argument(self) -> bool:
        """Whether it must be given, as the model."""
        return self.default is MISSING

    @property
    def explained(self) -> str:
        """Its help, with what is taken where it is left to the run."""
        return f"{self.help}  [default: {self.unset}]" if self.unset else self.help

    @property
    def is_list(self) -> bool:
        return get_origin(self.type) is tuple

    @property
    def value_type(self) -> type:
        """Of its value, or of each value of a list: `int` of `int | None`."""
        return get_args(self.type)[0] if get_args(self.type) else self.type

    def typed(self, value: Any) -> str | None:
        """A value as a user types it: `1,3,5`; None for one that is left to the run."""
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, tuple):
            return ",".join(f"{item:g}" if isinstance(item, float) else item for item in value)
        return None if value is None else str(value)

    def taken(self, value: Any) -> Any:
        """A value as a run stores it: numpy's numbers as Python's, a list as a tuple, and as text a
        number or a path that stands for one (`until=0.05`, `layers=5`, `corpus=Path("a.txt")`).

        Raises:
            InputError: a value of another type.
        """
        kind = self.value_type
        if value is None and self.default is None:
            return None
        if self.is_list:
            if isinstance(value, tuple | list):
                return tuple(replace(self, type=kind).taken(item) for item in value)
        elif isinstance(value, kind):
            return value
        elif kind is str and isinstance(value, Real | Path):
            return str(value)
        elif isinstance(value, {int: Integral, float: Real}.get(kind, kind)):
            return value if isinstance(value, int) else kind(value)
        words = {int: "a whole number", float: "a number", str: "text", bool: "True or False"}
        wanted = f"{'a list, each ' if self.is_list else ''}{words[kind]}"
        raise InputError(f"{self.flag} is {wanted}, not {value!r:.80}.")

    def refuse_odd(self, value: Any) -> None:
        """Raises InputError for a number or a text that no run can have, whatever it is for."""
        if self.is_list:
            for item in value:
                replace(self, type=self.value_type).refuse_odd(item)
        if isinstance(value, int) and not -MOST <= value <= MOST:
            raise InputError(f"{self.flag} is a number beyond any run: the most is {MOST:.0e}.")
        if isinstance(value, str):
            if len(value) > LONGEST:
                raise InputError(
                    f"{self.flag} has {len(value):,} characters, and may have {LONGEST:,}. "
                    "Give a name."
                )
            if not value.isprintable():  # nor is half a character, of a wrongly encoded argument
                raise InputError(
                    f"{self.flag} {value!r:.80} has characters that cannot be printed. Give a name "
                    "as it is typed, without line breaks."
                )

    def refuse_others(self, value: Any) -> None:
        """Raises InputError for a word that is no choice, and a number below the least."""
        words = value if self.is_list else (value,)
        unknown = [word for word in words if self.choices and word not in self.choices]
        if unknown or (self.choices and not words):
            raise InputError(
                f"Unknown {self.name.removesuffix('s')} '{', '.join(unknown)}'. "
                f"Choose from {', '.join(self.choices)}."
            )
        if self.least is not None and value is not None and value < self.least:
            raise InputError(f"{self.flag} is {self.least} or more, not {value}.")


@dataclass(frozen=True)
class Limit:
    """How large a standard error may be: `0.05` logits, or `5%` of the head's direct effect."""

    value: float
    is_share: bool = False

    @classmethod
    def of(cls, text: str) -> Limit:
        """Raises InputError for what is neither."""
        number, percent, rest = text.strip().partition("%")
        try:
            value = float(number) / (100 if percent else 1)
        except ValueError:
            value = math.nan
        if not (0 < value < math.inf) or rest:
            raise InputError(
                f"--until {text} is no limit: give logits, as in 0.05, or a share of the head's "
                "direct effect, as in 5%."
            )
        return cls(value, bool(percent))


def option(help: str, default: Any = MISSING, **more: Any) -> Any:
    """A field of `RunSpec`: its help, its default, and what else `Option` holds of it."""
    return field(default=default, metadata={"option": Option(help, **more)})


def options_of(spec: type) -> dict[str, Option]:
    """The options that a dataclass defines, by name."""
    types = get_type_hints(spec)
    return {
        found.name: replace(
            found.metadata["option"],
            name=found.name,
            type=types[found.name],
            default=found.default,
        )
        for found in fields(spec)
    }
