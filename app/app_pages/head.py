"""Head: one head under every ablation: its numbers, their spread, the tokens themselves."""

import pandas as pd
import streamlit as st

from selfrepair.app.charts import position_charts, run_charts, token_charts
from selfrepair.app.figures import figures
from selfrepair.app.figures.drawn import Look
from selfrepair.app.page_parts import frame, show, state
from selfrepair.app.page_parts.head_numbers import numbers
from selfrepair.app.page_parts.head_tokens import tokens
from selfrepair.app.questions import head_questions, kind_questions, queries, run_questions
from selfrepair.app.questions.queries import Serving
from selfrepair.app.wording import kinds, words

VIEWS = ["Tokens", "Scatter", "Parts", "Spread", "Positions", "LayerNorm", "Ablations"]
ROW_SETS = {"top by direct effect": "top_by_direct_effect", "all tokens": "all"}


def scatter(serving: Serving, run: str, ablation: str, layer: int, head: int) -> None:
    """Fig. 3 and 5."""
    answer = head_questions.sampled_tokens(serving, run, layer, head)
    measured = list(dict.fromkeys(answer.frame["ablation"]))
    both = len(measured) > 1 and state.switch("all ablations (Fig. 5)", "every")
    clicked = show.chart(
        "Direct effect against logit change, per token (Fig. 3 and 5)",
        token_charts.scatter(answer.frame, measured if both else [ablation]),
        answer,
        key="tokens_scatter",
        caption=f"At most {head_questions.SAMPLE:,} sampled tokens per ablation, the same ones "
        "under each. In the shaded zone the logit falls by less than the direct effect, whether or "
        "not that was removed. Click a token to read it in its text.",
        definitions=show.defined(serving, ["direct_effect", "logit_change", "self_repair"]),
        clickable=True,
    )
    if clicked:
        sequence, position = (int(n) for n in clicked[:2])
        state.choose("view", "Tokens")
        state.choose("instance", f"{sequence}:{position}")
        st.rerun()


def parts(serving: Serving, run: str, layer: int, head: int) -> None:
    """Self-repair broken into its parts."""
    answer = head_questions.summary(serving, run, layer, head)
    errors = kinds.clusters(serving, run).errors

    def removed(suffix: str) -> str:
        """How much of the head each ablation removed, and where that is little."""
        return ", ".join(
            f"{one.ablation} {words.share(share)}"
            + (f" ({kinds.LITTLE})" if kinds.is_little(share) else "")
            for one in answer.frame.itertuples()
            for share in [getattr(one, f"share_removed{suffix}")]
        )

    for place, suffix, rows in zip(
        st.columns(2), ("", "_all"), ("top rows", "all tokens"), strict=True
    ):
        with place:
            show.chart(
                f"Who repairs: {rows}",
                run_charts.parts(answer.frame, suffix=suffix),
                answer,
                key=f"parts{suffix}",
                caption=f"Means with their standard errors; {errors}. Removed: {removed(suffix)}.",
                definitions=show.defined(serving, run_charts.PARTS),
            )


def spread(serving: Serving, run: str, layer: int, head: int) -> None:
    """Distribution per token and per prompt; what is overcorrected and broken (section 2.3)."""
    rows = state.one_of("Rows", "spread", list(ROW_SETS), kind="row")
    token_rows = {"all tokens": "all tokens"}.get(rows, "top by direct effect")
    left, right = st.columns(2)
    with left:
        answer = head_questions.per_token(serving, run, layer, head, token_rows)
        show.chart(
            "Self-repair per token",
            token_charts.histogram(
                answer.frame, x="self-repair (logits)", line_at=0, y="share of tokens"
            ),
            answer,
            key="per_token",
            caption="What lies beyond the outer 0.1 % is counted in the outermost bins.",
            definitions=show.defined(serving, ["self_repair"]),
        )
    with right:
        answer = head_questions.per_sequence(serving, run, layer, head, ROW_SETS[rows])
        show.chart(
            "Mean self-repair per sequence (per prompt)",
            token_charts.histogram(
                answer.frame, x="self-repair (logits)", line_at=0, y="share of sequences"
            ),
            answer,
            key="per_sequence",
            caption="A prompt is a sequence of the run.",
            definitions=show.defined(serving, ["self_repair"], "self_repair_by_sequence"),
        )
    show.table(
        "How noisy it is (section 2.3)",
        head_questions.noise(serving, run, layer, head, ROW_SETS[rows]),
        serving,
        key="noise",
        relation="self_repair_noise",
    )


def positions(serving: Serving, run: str, ablation: str, layer: int, head: int) -> None:
    """The same quantities by position, and the means with and without the first ones."""
    if missing := queries.lacking(serving, "effects_by_position"):
        show.not_there("Positions", missing, "Publish the run again.")
        return
    figure = figures.by_position(serving, "positions", Look(run, ablation, layer, head))
    show.chart(
        "By position in the sequence, all tokens",
        figure.figure,
        figure.answer,
        key="by_position",
        caption=figure.caption,
        definitions=show.defined(serving, position_charts.QUANTITIES, "effects_by_position"),
    )
    answer = head_questions.with_and_without(serving, run, ablation, layer, head)
    # What is counted stands before the means.
    first = ["row_set", "positions", "n_rows", "n_clusters"]
    named = answer.frame["positions"].map(
        {
            "all": "all",
            "without_bos": "without the first (BOS)",
            "without_sinks": "without the first 4 (attention sinks)",
        }
    )
    show.table(
        "Means with and without the first positions",
        answer,
        serving,
        key="with_and_without",
        relation="head_means_by_positions",
        frame=answer.frame.assign(positions=named, row_set=answer.frame["row_set"].map(words.name))[
            first + [c for c in answer.frame if c not in (*first, "positions_left_out")]
        ],
        caption="The first positions are where attention sinks are, and BOS where sequences begin "
        "with it; at BOS resampling changes nothing. The top rows are not chosen anew without "
        "them. The SQL macro head_means_without_first leaves out any other number.",
    )


def layernorm(serving: Serving, run: str, layer: int, head: int) -> None:
    """Fig. 4, 17, 18 and 16."""
    left, right = st.columns(2)
    with left:
        answer = head_questions.layernorm_ratios(serving, run, layer, head)
        above = answer.frame.drop_duplicates("ablation")
        shares = ", ".join(
            f"{row.ablation} {words.share(row.share_above_one)}" for row in above.itertuples()
        )
        show.chart(
            "LayerNorm ratio on the top rows (Fig. 4)",
            token_charts.histogram(answer.frame, x="ln_scale / ln_scale_ablated", line_at=1),
            answer,
            key="layernorm_ratio",
            caption=f"Share above 1, where the norm amplifies what is left: {shares}.",
            definitions=show.defined(serving, ["layernorm_ratio", "ln_scale", "ln_scale_ablated"]),
        )
    with right:
        answer = head_questions.residual_norms(serving, run, layer, head)
        show.chart(
            "Residual norm after ablation / before, all rows (Fig. 16)",
            token_charts.histogram(answer.frame, x="ln_scale_ablated / ln_scale", line_at=1),
            answer,
            key="residual_norm",
            caption="Below 1, ablation has made the final residual smaller.",
            definitions=show.defined(serving, ["ln_scale", "ln_scale_ablated"]),
        )


def ablations(serving: Serving, run: str, layer: int, head: int) -> None:
    """Every quantity under every ablation, side by side."""
    answer = head_questions.summary(serving, run, layer, head)
    means = answer.frame.set_index("ablation")
    rows = [
        {
            "quantity": words.name(column),
            **{
                f"{ablation} ablation": f"{words.signed(one[column])} ± "
                + words.number(one[f"{column}_se"], 2)
                for ablation, one in means.iterrows()
            },
            "meaning": queries.meaning(serving, column, "head_summary"),
        }
        for column in run_questions.QUANTITIES
    ]
    show.table(
        "The ablations side by side: means over the top rows",
        answer,
        serving,
        key="ablations",
        frame=pd.DataFrame(rows),
        caption=f"± is the standard error; {kinds.clusters(serving, run).errors}. Where the share "
        "removed is below 50 %, self-repair says little.",
    )


def page() -> None:
    serving = frame.serving_or_stop("Head")
    title = st.empty()
    run, ablation, layer, head = frame.picked(serving, with_head=True)
    title.title(f"Head {words.head(layer, head)}")
    means = head_questions.summary(serving, run, layer, head).frame
    own = means[(means["ablation"] == ablation) & (means["n_rows"] > 0)]
    if not own.empty:
        labels = kind_questions.kinds_of_head(serving, run, layer, head).frame
        labels = labels[
            (labels["ablation"] == ablation) & (labels["row_set"] == "top_by_direct_effect")
        ]
        numbers(serving, own.iloc[0], None if labels.empty else labels.iloc[0])
    view = state.one_of("Show", "view", VIEWS, "Tokens", kind="row")
    match view:
        case "Tokens":
            tokens(serving, run, ablation, layer, head)
        case "Scatter":
            scatter(serving, run, ablation, layer, head)
        case "Parts":
            parts(serving, run, layer, head)
        case "Spread":
            spread(serving, run, layer, head)
        case "Positions":
            positions(serving, run, ablation, layer, head)
        case "LayerNorm":
            layernorm(serving, run, layer, head)
        case _:
            ablations(serving, run, layer, head)


page()
