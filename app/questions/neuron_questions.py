"""What the pages ask about the neurons of the last MLP layer."""

from selfrepair.app.questions.queries import Answer
from selfrepair.app.questions.subject import OF_HEAD, Subject

SAMPLE = 2_000  # tokens in a scatter


def neurons_of_token(
    subject: Subject,
    sequence: int,
    position: int,
) -> Answer:
    """The 12 most repairing neurons of the last MLP layer at one token, where that was kept."""
    return subject.ask(
        f"""
        select
            unnest(neurons[:12]) as neuron,
            unnest(direct_effects[:12]) as direct_effect,
            unnest(direct_effects_ablated[:12]) as direct_effect_ablated
        from neuron_repairs
        {OF_HEAD}
            and sequence = $sequence
            and position = $position
        """,
        sequence=sequence,
        position=position,
    )


def top_neurons(subject: Subject) -> Answer:
    """Fig. 7: the most repairing neuron of each kept token; a sample of the tokens."""
    return subject.ask(
        f"""
        select * exclude (run_id, ablation, layer, head, name)
        from top_repairing_neuron
        {OF_HEAD}
        order by md5(concat(sequence, ':', position)), sequence, position
        limit {SAMPLE}
        """,
    )


def neuron_frequency(subject: Subject, ranking: str) -> Answer:
    """Section 4.2.2: the 200 neurons that are most often among the ten most repairing."""
    return subject.ask(
        f"""
        select * exclude (run_id, ablation, layer, head, ranking)
        from neuron_frequency
        {OF_HEAD}
            and ranking = $ranking
        order by share_among_ten desc, neuron
        limit 200
        """,
        ranking=ranking,
    )


def neuron_tokens(subject: Subject, ranking: str, neuron: int) -> Answer:
    """The tokens at which a neuron is among the ten most repairing, the largest change first."""
    return subject.ask(
        f"""
        with

        placed as (
            select
                *,
                list_position(neurons, $neuron) as place
            from most_repairing_neurons
            {OF_HEAD}
                and ranking = $ranking
        )

        select
            sequence,
            position,
            token_text,
            target_text,
            direct_effects[place] as direct_effect,
            direct_effects_ablated[place] as direct_effect_ablated,
            mlp_direct_effect
        from placed
        join tokens using (run_id, sequence, position)
        where place is not null
        order by direct_effects_ablated[place] - direct_effects[place] desc
        limit 200
        """,
        ranking=ranking,
        neuron=neuron,
    )


def neuron_heads(subject: Subject) -> Answer:
    """The heads whose every neuron was kept, and so have figures 7 and 12 and section 4.2.2."""
    return subject.ask(
        """
        select distinct
            layer,
            head
        from neuron_frequency
        where run_id = $run
            and ablation = $ablation
        order by layer, head
        """,
    )
