"""Neurons: which neurons of the last MLP layer repair, how often, and one neuron's tokens."""

import streamlit as st

from selfrepair.app.charts import detail_charts, token_charts
from selfrepair.app.page_parts import frame, show, state
from selfrepair.app.questions import detail_questions, neuron_questions, queries
from selfrepair.app.questions.queries import Answer, Serving
from selfrepair.app.wording import words

MEASURE = "Runs measured by this version keep it; measure the run again."


def frequency(serving: Serving, run: str, ablation: str, layer: int, head: int) -> None:
    """Fig. 8, 12-15 and section 4.2.1: of every ablated head."""

    def of(view: str) -> Answer:
        return detail_questions.of_head(serving, view, run, ablation, layer, head)

    change = of("neuron_change_by_head").frame
    if change.empty:
        st.info(
            f"The last MLP layer is not downstream of {words.head(layer, head)}: its neurons "
            "cannot repair it. Choose a head of an earlier layer.",
            icon=":material/arrow_upward:",
        )
        return
    numbers = change.iloc[0]
    shown = [
        ("positive / net change", "positive_to_net_median",
         words.number(numbers["positive_to_net_median"])),
        ("change in the quietest 60 %", "quietest_60_percent",
         words.share(numbers["quietest_60_percent"])),
        ("net change", "net_change", f"{words.signed(numbers['net_change'])} logits"),
    ]  # fmt: skip
    for place, (label, column, text) in zip(st.columns(3), shown, strict=True):
        place.metric(label, text, help=queries.meaning(serving, column))
    left, right = st.columns(2)
    with left:
        answer = of("repairing_neuron_frequency")
        show.chart(
            "How often the Nth neuron repairs that much (Fig. 8)",
            detail_charts.frequency(answer.frame),
            answer,
            key="neuron_frequency",
            caption="Of the head's top rows by direct effect; thresholds are shares of its direct "
            "effect.",
            definitions=show.defined(
                serving, ["neuron_rank", "threshold", "share"], "repairing_neuron_frequency"
            ),
        )
    with right:
        answer = of("neuron_cumulative_change")
        show.chart(
            "Cumulative share of the change (Fig. 12-15)",
            detail_charts.cumulative(answer.frame),
            answer,
            key="neuron_cumulative",
            caption="A steep start or end: few neurons do it. The flat middle hardly changes. "
            "Hollow: the median at that place is not kept for this head.",
            definitions=show.defined(
                serving, ["n_neurons", "cumulative_share", "direct_effect_median"]
            ),
        )


def chosen_head(serving: Serving, run: str, ablation: str, layer: int, head: int) -> None:
    """Fig. 7 and section 4.2.2: of the heads whose every neuron was kept."""
    kept = neuron_questions.neuron_heads(serving, run, ablation).frame
    names = [words.head(one.layer, one.head) for one in kept.itertuples()]
    if words.head(layer, head) not in names:
        if names:
            st.info(
                "Single neurons (Fig. 7, section 4.2.2) are kept for chosen heads: "
                f"{', '.join(names)}. Choose one of them above.",
                icon=":material/filter_center_focus:",
            )
        return
    left, right = st.columns(2)
    with left:
        answer = neuron_questions.top_neurons(serving, run, ablation, layer, head)
        if answer.frame.empty:
            show.not_there("This head's neurons", ["top_repairing_neuron"], "Choose another head.")
            return
        clicked = show.chart(
            "The most repairing neuron of each token (Fig. 7)",
            detail_charts.top_neurons(answer.frame),
            answer,
            key="top_neurons",
            caption=f"At most {neuron_questions.SAMPLE:,} of the top rows by the last MLP layer's "
            "self-repair. Left of 0 and above the line: anti-erasure. Click one to see its tokens.",
            definitions=show.defined(
                serving,
                ["direct_effect", "direct_effect_ablated", "mlp_direct_effect", "anti_erasure"],
                "top_repairing_neuron",
            ),
            clickable=True,
        )
        if clicked:
            state.choose("neuron", str(int(clicked[0])))
        bins = detail_questions.of_head(
            serving, "top_repairing_neuron_histogram", run, ablation, layer, head
        )
        show.chart(
            "Its clean direct effect (Fig. 7, histogram)",
            token_charts.histogram(
                bins.frame.assign(ablation=ablation),
                x="direct effect of the neuron (logits)",
                line_at=0,
            ),
            bins,
            key="top_neurons_histogram",
        )
    with right:
        rankings = {"last MLP's repair": "mlp_repair", "direct effect": "direct_effect"}
        ranking = state.one_of("Top rows by", "ranking", list(rankings), kind="row")
        often = neuron_questions.neuron_frequency(
            serving, run, ablation, layer, head, rankings[ranking]
        )
        clicked = show.chart(
            "How often a neuron is among the ten most repairing (4.2.2)",
            detail_charts.among_ten(often.frame),
            often,
            key="among_ten",
            caption="The 200 most frequent neurons. The paper finds at most 16 % for Pythia-160M's "
            "L10H11. Click one to see its tokens.",
            definitions=show.defined(serving, ["share_among_ten"], "neuron_frequency"),
            clickable=True,
        )
        if clicked:
            state.choose("neuron", str(int(clicked[0])))
        neurons = [int(n) for n in often.frame["neuron"]]
        one_neuron(serving, run, ablation, layer, head, rankings[ranking], neurons)


def one_neuron(
    serving: Serving,
    run: str,
    ablation: str,
    layer: int,
    head: int,
    ranking: str,
    neurons: list[int],
) -> None:
    """One neuron's tokens."""
    if not neurons:
        return
    neuron = state.one_of("Neuron", "neuron", sorted(neurons), neurons[0])
    answer = neuron_questions.neuron_tokens(serving, run, ablation, layer, head, ranking, neuron)
    shown = answer.frame.assign(
        token_text=answer.frame["token_text"].map(words.token),
        target_text=answer.frame["target_text"].map(words.token),
    )
    show.table(
        f"Tokens at which neuron {neuron} is among the ten",
        answer,
        serving,
        key="neuron_tokens",
        relation="top_repairing_neuron",
        frame=shown,
        caption=f"{len(shown)} tokens; largest change first.",
    )


def page() -> None:
    serving = frame.serving_or_stop("Neurons")
    st.title("Neurons of the last MLP layer")
    missing = queries.lacking(serving, "neuron_repairs")

    def kept(run: str, ablation: str) -> list[str]:
        if missing:
            return []
        heads = neuron_questions.neuron_heads(serving, run, ablation).frame
        return [words.head(one.layer, one.head) for one in heads.itertuples()]

    run, ablation, layer, head = frame.picked(serving, with_head=True, rather=kept)
    if missing:
        show.not_there("Neurons", missing, MEASURE)
        return
    frequency(serving, run, ablation, layer, head)
    chosen_head(serving, run, ablation, layer, head)


page()
