"""How every chart and table is shown: its heading, its definitions, its SQL, its data."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from selfrepair.app.questions.queries import Answer, Generation, meaning
from selfrepair.app.wording import words
from selfrepair.app.wording.headline import Tile
from selfrepair.paper.tables import latex as latex_of

PARAMETERS = ("threshold", "scale")  # columns of numbers that somebody chose


def tiles(shown: Iterable[Tile]) -> None:
    """Numbers in a row, each with what it is over below it."""
    row = list(shown)
    for place, tile in zip(st.columns(len(row)), row, strict=True):
        place.metric(tile.label, tile.value, help=tile.help or None)
        place.caption(tile.note)


def is_dark() -> bool:
    """Whether the visitor looks at the dark theme."""
    return st.context.theme.type == "dark"


def defined(generation: Generation, columns: Iterable[str], relation: str | None = None) -> str:
    """The definitions of these columns, for a heading's tooltip."""
    lines = [(column, meaning(generation, column, relation)) for column in columns]
    return "\n".join(f"- **{words.name(column)}**: {said}" for column, said in lines if said)


def heading(title: str, definitions: str = "") -> None:
    """A chart's title; its definitions appear when the mark beside it is pointed at."""
    st.markdown(f"##### {title}", help=definitions or None)


def table(
    title: str,
    answer: Answer,
    generation: Generation,
    *,
    key: str,
    caption: str = "",
    relation: str | None = None,
    selectable: bool = False,
    frame: pd.DataFrame | None = None,
    height: int | str = "auto",
) -> int | None:
    """A sortable table in a border; the number of the selected row where one is.

    Headers are words, and each one's tooltip is the column's definition.
    """
    shown = answer.frame if frame is None else frame
    shares = {column: 100 * shown[column] for column in shown if _is_share(shown, column)}
    shown = shown.assign(**shares)
    with st.container(border=True):
        heading(title)
        tabled: Any = st.dataframe  # its overloads do not know a choice between two modes
        event = tabled(
            shown,
            hide_index=True,
            height=height,
            placeholder="—",
            column_config=column_config(shown, generation, relation),
            key=f"table:{key}",
            on_select="rerun" if selectable else "ignore",
            selection_mode="single-row",
        )
        if caption:
            st.caption(caption)
        behind(answer, key, latex=partial(_latex, answer, generation, frame))
    rows = event["selection"]["rows"] if selectable else []
    return int(rows[0]) if rows else None


def column_config(
    frame: pd.DataFrame, generation: Generation | None, relation: str | None = None
) -> dict[str, Any]:
    """Words as headers, definitions as tooltips, sensible digits; shares are in per cent."""
    config: dict[str, Any] = {}
    for column in frame.columns:
        said = meaning(generation, column, relation) if generation else ""
        label = words.name(column)
        if column == "open_head":  # addresses, of which the head's name is shown
            config[column] = st.column_config.LinkColumn("head", display_text=r"[?&]head=([^&]+)")
            continue
        if pd.api.types.is_bool_dtype(frame[column]):
            config[column] = st.column_config.CheckboxColumn(label, help=said)
        elif pd.api.types.is_float_dtype(frame[column]):
            config[column] = st.column_config.NumberColumn(
                label, help=said, format=_digits(column, frame[column])
            )
        elif pd.api.types.is_datetime64_any_dtype(frame[column]):
            config[column] = st.column_config.DatetimeColumn(
                label, help=said, format="YYYY-MM-DD HH:mm"
            )
        elif column.startswith("n_"):
            config[column] = st.column_config.NumberColumn(label, help=said, format="localized")
        else:
            config[column] = st.column_config.Column(label, help=said)
    return config


def _digits(column: str, values: pd.Series) -> str:
    if column in PARAMETERS:
        return "%g"
    if column.startswith("share"):
        return "%.1f %%"
    return "%.0f" if (values.dropna() % 1 == 0).all() else "%.3f"


def _is_share(frame: pd.DataFrame, column: str) -> bool:
    return column.startswith("share") and pd.api.types.is_float_dtype(frame[column])


def behind(answer: Answer, key: str, latex: Callable[[], bytes] | None = None) -> None:
    """What is behind a chart or table: its SQL and its data as files; latex: makes the table's."""
    with st.expander("Show the SQL · download the data"):
        st.code(answer.sql, language="sql")
        downloads(answer.frame, key, latex)


def downloads(frame: pd.DataFrame, key: str, latex: Callable[[], bytes] | None = None) -> None:
    """A button per kind of file; the file is made when one is clicked."""
    kinds: list[tuple[str, Callable[[], bytes], str, str]] = [
        ("CSV", lambda: frame.to_csv(index=False).encode(), "csv", "text/csv"),
        ("Parquet", lambda: frame.to_parquet(index=False), "parquet",
         "application/vnd.apache.parquet"),
    ]  # fmt: skip
    if latex is not None:
        kinds.append(("LaTeX", latex, "tex", "application/x-tex"))
    with st.container(horizontal=True):
        for label, make, ending, mime in kinds:
            st.download_button(
                label,
                make,
                f"{key}.{ending}",
                mime,
                key=f"{label.lower()}:{key}",
                icon=":material/download:",
                on_click="ignore",
            )


def _latex(answer: Answer, generation: Generation, frame: pd.DataFrame | None) -> bytes:
    """The table as it is shown, but for links, and where its rows are from."""
    shown = (answer.frame if frame is None else frame).drop(columns="open_head", errors="ignore")
    shown.attrs = {"sql": answer.sql, "generation": generation.number}
    return latex_of(shown).encode()


def not_there(what: str, relations: list[str], do: str) -> None:
    """One friendly line where the generation does not have what a page shows."""
    st.info(
        f"{what}: this warehouse has nothing in {', '.join(f'`{r}`' for r in relations)} yet. {do}",
        icon=":material/hourglass_empty:",
    )
