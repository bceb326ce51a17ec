"""Across models: figures 1, 6, 11 and 10 for any subset of runs."""

import streamlit as st

from selfrepair.app.charts import run_charts
from selfrepair.app.page_parts import frame, show, state
from selfrepair.app.questions import queries, run_questions
from selfrepair.app.questions.run_questions import BY_DEPTH
from selfrepair.app.wording import words

SAYS = {
    "1": "Self-repair of each head on its top rows.",
    "6": "The part of self-repair that the final norm does, on each head's top rows.",
    "11": "The final norm's part as a share of the direct effect, per token cut to 0…1.",
    "10": "The same share without the cut and over all rows. A warning rather than a measurement: "
    "direct effects near zero make the ratio explode, so that a few rows decide its mean.",
}


def page() -> None:
    serving = frame.serving_or_stop("Across models")
    st.title("Across models")
    runs = run_questions.runs(serving).frame
    left, right = st.columns([5, 4])
    with left:
        chosen = state.some_of(
            "Runs", "runs", list(runs["run_id"]), runs["run_id"].head(7), help="Any of them."
        )
    with right:
        measured = {a for text in runs["ablations"] for a in text.split(", ")}
        ablation = frame.picked_ablation(measured)
    figure = state.one_of(
        "Figure",
        "figure",
        list(BY_DEPTH),
        "1",
        kind="row",
        shown=lambda number: f"Fig. {number}: {words.name(BY_DEPTH[number][1])}",
    )
    if not chosen:
        st.info("Choose at least one run.", icon=":material/checklist:")
        return
    view, quantity = BY_DEPTH[figure]
    answer = run_questions.by_depth(serving, figure, chosen, ablation)
    rows = answer.frame
    if rows.empty:
        st.info(f"None of these runs has {ablation} ablation.", icon=":material/filter_alt_off:")
        return
    y_range = None
    caption = SAYS[figure] + (
        " A dot is a head, a line the mean of a layer's heads, a bar its standard error "
        "(clustered by document where a run's text is of ten or more, else by sequence). Hollow: "
        "the ablation removed less than half of the head's direct effect, so that its self-repair "
        "says little. Click a head to open it."
    )
    if figure == "10":
        low, high = rows[quantity].quantile([0.02, 0.98])
        room = 0.1 * max(high - low, 1e-6)
        y_range = (float(low - room), float(high + room))
        out = int((~rows[quantity].between(*y_range)).sum())
        caption += f" {out} heads lie outside the drawn range; double-click to see them."
    if len(rows) == queries.MOST_MARKS:
        caption += f" A sample of {queries.MOST_MARKS:,} heads is drawn."
    clicked = show.chart(
        f"Figure {figure}: {words.name(quantity)} over depth",
        run_charts.by_depth(
            rows, quantity, words.axis(quantity, queries.meaning(serving, quantity)), y_range
        ),
        answer,
        key=f"figure_{figure}",
        caption=caption,
        definitions=show.defined(serving, [quantity, f"layer_{quantity}", "depth"], view),
        clickable=True,
    )
    if clicked and len(clicked) > 1:  # a head; a line's mark says less
        run, layer, head = clicked[:3]
        state.open_page(
            "head", run=str(run), ablation=ablation, head=words.head(int(layer), int(head))
        )


page()
