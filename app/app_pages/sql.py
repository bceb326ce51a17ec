"""SQL: a statement on a locked connection, its rows and the data dictionary beside it."""

import pandas as pd
import streamlit as st

from selfrepair.app.charts.detail_charts import MARKS, MOST_COLORS, any_columns
from selfrepair.app.console import sql_console
from selfrepair.app.console.sql_console import Result, Statement
from selfrepair.app.console.sql_examples import EXAMPLES
from selfrepair.app.page_parts import paper_menu, saved_statements, show, state, surroundings
from selfrepair.app.questions import queries


def editor(generation: queries.Generation, own: dict[str, str] | None) -> None:
    """The statement and its buttons; `own` are the visitor's saved ones."""
    with st.container(height=150, border=False):
        _offered("Examples", EXAMPLES)
        if own:
            _offered("Saved", own)
    linked = state.value("sql").strip()
    if "statement_text" not in st.session_state:
        st.session_state["statement_text"] = linked or EXAMPLES["the most self-repaired heads"]
    with st.form("ask", border=False):
        text = st.text_area("Statement", key="statement_text", height=260)
        asked = st.form_submit_button(
            "Run", type="primary", icon=":material/play_arrow:", shortcut="Ctrl+Enter"
        )
    with st.container(horizontal=True):
        saving(own)
    st.caption(
        f"Read-only, without files, network or settings; at most {sql_console.SECONDS:.0f} s, "
        f"{sql_console.MEMORY_MB} MB and {sql_console.MOST_ROWS:,} rows. "
        "For more, `selfrepair sql` opens the same tables without limits."
    )
    if asked and text.strip():
        state.choose("sql", text.strip())
        state.value("sql")
        start(generation, text.strip())
    elif linked and st.session_state.get("started_sql") != linked:
        st.info(
            "This statement came with the link, and has not been run. Read it, then press Run.",
            icon=":material/link:",
        )


def _offered(label: str, statements: dict[str, str]) -> None:
    """Statements to choose from; the one that was chosen is in the editor."""
    chosen = st.pills(label, list(statements), key=f"offered:{label}", wrap=True)
    before = f"shown:{label}"
    if chosen and chosen != st.session_state.get(before):
        st.session_state["statement_text"] = statements[chosen]
    st.session_state[before] = chosen


def saving(own: dict[str, str] | None) -> None:
    """Keeps the last statement that was run, or forgets a kept one, in the visitor's browser."""
    with st.popover("Save", icon=":material/bookmark:"):
        st.caption("Kept in this browser alone.")
        longest = saved_statements.LONGEST_NAME
        name = st.text_input("Name", key="saved_name", max_chars=longest)
        text = st.session_state["statement_text"]
        why_not = saved_statements.why_not(name, text, own)
        st.button(
            "Replace" if name.strip() in (own or {}) else "Save what was run",
            key="save_statement",
            on_click=saved_statements.keep,
            args=(name, text),
            disabled=why_not is not None,
            help=why_not,
        )
        for kept in own or {}:
            st.button(
                f"Remove {kept}",
                key=f"forget:{kept}",
                icon=":material/delete:",
                on_click=saved_statements.forget,
                args=(kept,),
            )


def start(generation: queries.Generation, text: str) -> None:
    """Begins a statement; one that still runs for this visitor ends."""
    running = st.session_state.get("statement")
    if running is not None and running.result is None:
        running.cancel()
    st.session_state["started_sql"] = text
    st.session_state["statement"] = Statement(generation.file, text, outside=generation.outside)


@st.fragment(run_every=0.4)
def waiting() -> None:
    """Watches the statement; Cancel ends it at once."""
    statement: Statement = st.session_state["statement"]
    if statement.result is not None:
        st.rerun()
    left, right = st.columns([4, 1], vertical_alignment="center")
    left.progress(
        min(1.0, statement.elapsed / sql_console.SECONDS), f"running, {statement.elapsed:.1f} s"
    )
    if right.button("Cancel", icon=":material/stop:", width="stretch"):
        statement.cancel()


def show_result(result: Result, generation: queries.Generation, sql: str) -> None:
    """Rows as a table and as a chart, or the line that says why there are none."""
    if result.error is not None or result.table is None:
        st.error(
            "No rows: the statement was refused, stopped or is not right.", icon=":material/block:"
        )
        st.code(result.error or "no result", language=None, wrap_lines=True)  # never as markdown
        return
    rows = result.table.to_pandas()
    limited = f", the first {sql_console.MOST_ROWS:,} of more" if result.more else ""
    st.caption(f"{len(rows):,} rows{limited} · {result.seconds:.1f} s")
    as_table, as_chart = st.tabs(["Table", "Chart"])
    with as_table:
        st.dataframe(rows, hide_index=True, height=420, placeholder="null")
        show.downloads(rows, "result")
    with as_chart:
        chart(rows, generation, sql)


def chart(rows: pd.DataFrame, generation: queries.Generation, sql: str) -> None:
    """Any two columns against each other."""
    numbers = [
        c
        for c in rows.columns
        if pd.api.types.is_numeric_dtype(rows[c]) and not pd.api.types.is_bool_dtype(rows[c])
    ]
    if not numbers or rows.empty:
        st.info("A chart needs a column of numbers and a row.", icon=":material/show_chart:")
        return
    a, b, c, d = st.columns(4)
    x = a.selectbox("x", list(rows.columns), key="chart_x")
    y = b.selectbox("y", numbers, index=len(numbers) - 1, key="chart_y")
    group = c.selectbox("Colour", [None, *rows.columns], key="chart_colour")
    marks = d.segmented_control("Marks", MARKS, default="points", required=True, key="chart_marks")
    drawn = rows.head(queries.MOST_MARKS)
    columns = {"x": x, "y": y, "group": group, "marks": marks}
    paper_menu.menu(
        lambda width: paper_menu.makers().of_rows(generation, sql, drawn, columns, width),
        "result",
        st.container(),
    )
    st.plotly_chart(any_columns(drawn, **columns), key="chart:result")
    if len(rows) > len(drawn) or (group is not None and rows[group].nunique() > MOST_COLORS):
        st.caption(f"Drawn: the first {len(drawn):,} rows and at most {MOST_COLORS} colours.")


def dictionary(generation: queries.Generation) -> None:
    """Every table and view, and what each column means."""
    known = queries.relations(generation)
    columns = queries.columns(generation)
    relation = state.pick_one(
        "Data dictionary", "relation", list(known), "head_summary", help="Tables and views."
    )
    first, *more = known[relation].splitlines() or ["not documented"]
    st.markdown(f"**{first}**")
    if more:
        st.text(" ".join(more).replace("`", ""))
    own = columns[columns["relation"] == relation]
    with st.container(height=300, border=True):
        st.markdown(
            "\n".join(
                f"- **`{row.column}`** :gray[{row.type.lower()}]  \n  {row.meaning or ''}"
                for row in own.itertuples(index=False)
            )
        )


def page() -> None:
    generation = st.session_state.get("generation")
    if generation is None:
        surroundings.generation_or_stop("SQL")
        return
    st.title("Ask with SQL")
    own = saved_statements.saved()
    left, right = st.columns(2, gap="large")
    with left:
        editor(generation, own)
    statement = st.session_state.get("statement")
    with right:
        if statement is not None and statement.result is None:
            waiting()
        elif (
            statement is not None and st.session_state["started_sql"] == state.value("sql").strip()
        ):
            show_result(statement.result, generation, st.session_state["started_sql"])
        dictionary(generation)
    saved_statements.ask_browser()


page()
