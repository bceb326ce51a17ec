"""Who repaired one token: its components and neurons as charts, each of them a link."""

import pandas as pd
import streamlit as st

from selfrepair.app.page_parts import state
from selfrepair.app.page_parts.show_figure import show_figure
from selfrepair.app.questions import detail_questions, neuron_questions, queries
from selfrepair.app.questions.subject import Subject
from selfrepair.app.wording import words
from selfrepair.warehouse.sql_parsing import literal


def repairers(subject: Subject, sequence: int, position: int) -> None:
    """Which components and neurons repaired this token, where that was kept."""
    if queries.lacking(subject.generation, "component_changes", "neuron_repairs"):
        return
    components = detail_questions.repairers_of_token(subject, sequence, position)
    neurons = neuron_questions.neurons_of_token(subject, sequence, position)
    if components.frame.empty:
        st.caption("Which components repaired is kept for a head's top rows by direct effect only.")
        return
    left, right = st.columns(2)
    with left:
        show_figure("one token, components", subject, sequence=sequence, position=position)
        with st.container(horizontal=True):
            for name in components.frame["component"]:
                to_component(subject, str(name), f"{sequence}:{position}")
    with right:
        if neurons.frame.empty:
            st.caption("The last MLP layer is not downstream of this head.")
            return
        show_figure("one token, neurons", subject, sequence=sequence, position=position)
        to_neurons(subject, neurons.frame)


def to_component(subject: Subject, name: str, place: str) -> None:
    """A link: to a head at this token; to what an MLP layer repairs, which SQL answers."""
    if words.layer_and_head(name):
        chosen = {"run": subject.run, "ablation": subject.ablation, "head": name}
        state.link("head", name, **chosen, view="Tokens", instance=place)
        return
    statement = f"""-- The heads that {name} repairs most.
select
    layer,
    head,
    direct_effect_change,
    direct_effect_change_se
from component_repairs
where run_id = {literal(subject.run)}
    and ablation = {literal(subject.ablation)}
    and component = 'mlp'
    and component_layer = {int(name.removeprefix("MLP "))}
order by direct_effect_change desc
limit 30"""
    state.link("sql", name, sql=statement)


def to_neurons(subject: Subject, neurons: pd.DataFrame) -> None:
    """A link for each neuron, to its tokens where every neuron of the head was kept."""
    kept = neuron_questions.neuron_heads(subject).frame
    is_kept = ((kept["layer"] == subject.layer) & (kept["head"] == subject.head)).any()
    chosen = {"run": subject.run, "ablation": subject.ablation, "head": subject.head_name}
    with st.container(horizontal=True):
        for neuron in neurons["neuron"] if is_kept else ():
            state.link("neurons", f"neuron {neuron}", **chosen, neuron=str(neuron))
        if not is_kept:
            state.link("neurons", "the neurons of the last MLP layer", **chosen)
