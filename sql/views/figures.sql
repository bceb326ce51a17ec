-- One row per figure of the paper and view that answers it, and one for each numbered claim.
-- `select * from <view>` draws the figure for every run that measured it. rows says which rows are
-- averaged or drawn (top: the run's top_fraction, 2 % in the paper), parameters what can be chosen
-- otherwise and how, note every way in which this differs from the paper (figure_notes),
-- a line each.
with

known as (
    select
        *,
        row_number() over () as place
    from (
        values
            (
                '1',
                'Self-repair per head and layer',
                'self_repair_by_head',
                'top by direct effect',
                'fraction: head_summary_at(fraction)'
            ),
            (
                '2',
                'Mean direct effect against mean logit change, per head',
                'logit_change_by_head',
                'all',
                null
            ),
            (
                '3',
                'Direct effect against logit change, per token',
                'logit_change_by_token',
                'all, sampled',
                'all rows of a head: self_repair'
            ),
            (
                '4',
                'Histogram of the LayerNorm ratio under three ablations, and its share above 1',
                'layernorm_ratio_histogram',
                'top by direct effect',
                'fraction: top_by_direct_effect_at(fraction)'
            ),
            (
                '5',
                'Direct effect against logit change, per token, under three ablations',
                'logit_change_by_ablation',
                'all, sampled',
                'all rows of a head: self_repair'
            ),
            (
                '6',
                'Self-repair from LayerNorm per head and layer',
                'layernorm_repair_by_head',
                'top by direct effect',
                'fraction: head_summary_at(fraction)'
            ),
            (
                '7',
                'The most repairing neuron of each token: clean against ablated direct effect',
                'top_repairing_neuron',
                'top by mlp repair, chosen heads',
                'heads: --neuron-heads; every neuron: neuron_ablations'
            ),
            (
                '7, histogram',
                'Histogram of the clean direct effect of the most repairing neuron',
                'top_repairing_neuron_histogram',
                'top by mlp repair, chosen heads',
                'heads: --neuron-heads'
            ),
            (
                '8',
                'How often the Nth most repairing neuron repairs a share of the direct effect',
                'repairing_neuron_frequency',
                'top by direct effect',
                'threshold: repairing_neuron_frequency_at(threshold)'
            ),
            (
                '9',
                'Direct effect before and after the head''s own output, times 3, is added',
                'self_reinforcement_by_token',
                'all measured, sampled',
                'scale: the column scale; all positions: self_reinforcement'
            ),
            (
                '10',
                'LayerNorm part as an unclipped fraction of the direct effect',
                'layernorm_fraction_unclipped_by_head',
                'all',
                null
            ),
            (
                '11',
                'LayerNorm part as a clipped fraction of the direct effect',
                'layernorm_fraction_by_head',
                'top by direct effect',
                'fraction: head_summary_at(fraction)'
            ),
            (
                '12',
                'Cumulative share of the absolute change over neurons, Llama-7B L30H8',
                'neuron_cumulative_change',
                'top by direct effect',
                null
            ),
            (
                '13',
                'Figure 12 for GPT2-Small L9H11',
                'neuron_cumulative_change',
                'top by direct effect',
                null
            ),
            (
                '14',
                'Figure 12 for Pythia-160M L7H8',
                'neuron_cumulative_change',
                'top by direct effect',
                null
            ),
            (
                '15',
                'Figure 12 for Pythia-410M L17H4',
                'neuron_cumulative_change',
                'top by direct effect',
                null
            ),
            (
                '16',
                'Histogram of the residual-norm ratio under three ablations',
                'residual_norm_histogram',
                'all',
                null
            ),
            (
                '17',
                'Figure 4 for GPT2-Small L11H10',
                'layernorm_ratio_histogram',
                'top by direct effect',
                'fraction: top_by_direct_effect_at(fraction)'
            ),
            (
                '18',
                'Figure 4 for GPT2-Small L11H3',
                'layernorm_ratio_histogram',
                'top by direct effect',
                'fraction: top_by_direct_effect_at(fraction)'
            ),
            (
                '19',
                'Figure 9 with the output times 1, 3 and 5',
                'self_reinforcement_by_token',
                'all measured, sampled',
                'scale: the column scale; all positions: self_reinforcement'
            ),
            ('20', 'Figure 2 for Llama-7B', 'logit_change_by_head', 'all', null),
            ('21', 'Figure 2 for Pythia-410M', 'logit_change_by_head', 'all', null),
            ('22', 'Figure 2 for GPT2-Medium', 'logit_change_by_head', 'all', null),
            (
                'section 2.3',
                'Correlation, overcorrection and breakage per head; spread over tokens',
                'self_repair_noise',
                'all, and top by direct effect',
                null
            ),
            (
                'section 2.3, per prompt',
                'Self-repair per sequence',
                'self_repair_by_sequence',
                'all, and top by direct effect',
                null
            ),
            (
                'section 4.2.1',
                'Positive against net change of the last MLP layer''s neurons',
                'neuron_change_by_head',
                'top by direct effect',
                null
            ),
            (
                'section 4.2.1, negligible',
                'Share of neurons whose change in direct effect is negligible',
                'negligible_neurons',
                'top by direct effect',
                'threshold: the column threshold'
            ),
            (
                'section 4.2.2',
                'How often each neuron is among the ten most repairing',
                'neuron_frequency',
                'top by mlp repair, and top by direct effect, chosen heads',
                'the column ranking'
            ),
            (
                'section 5.1',
                'Can the ablation of a head be trusted: ranks by direct effect and by ablation',
                'ablation_trust',
                'all, and top by direct effect',
                null
            ),
            (
                'section 5.1, by run',
                'How far ablation and direct effect agree on a model''s heads',
                'ablation_trust_by_run',
                'all, and top by direct effect',
                null
            ),
            (
                'section 5.2',
                'What each ablation says of a head, side by side',
                'ablation_trust_by_ablation',
                'all, and top by direct effect',
                null
            ),
            (
                'section 5.3',
                'Which heads are self-reinforcing, self-repressing or neither',
                'self_reinforcing_heads',
                'all measured',
                'limits: self_reinforcing_heads_at(minimum, level)'
            ),
            (
                'appendix E',
                'Self-repression is proportional to the scale',
                'self_reinforcement_by_scale',
                'all measured',
                null
            ),
            (
                'who repairs whom',
                'Change in direct effect of every downstream head and MLP layer',
                'component_repairs',
                'top by direct effect',
                null
            ),
            (
                'positions',
                'Direct effect, what was removed of it, logit change and self-repair by position',
                'effects_by_position',
                'all',
                'head_means_without_first(numbers)'
            ),
            (
                'what is repaired',
                'Of what an ablation removes of a head, what becomes: repaired, broken, or neither',
                'head_kinds',
                'all, and top by direct effect',
                null
            ),
            (
                'what is repaired, by run',
                'How much of what is removed is repaired, and by what',
                'run_repair',
                'all, and top by direct effect',
                null
            ),
            (
                'published numbers',
                'A run beside the authors'' published means, head by head',
                'beside_paper',
                'top by direct effect, resample',
                null
            ),
            (
                'published numbers, by quantity',
                'Correlation of a run with the authors'' published means',
                'paper_correlation',
                'top by direct effect, resample',
                null
            )
    ) as known (figure, title, view, rows, parameters)
),

notes as (
    select
        figure,
        string_agg(note, chr(10) order by place) as note
    from (
        select
            unnest(figures) as figure,
            note,
            place
        from figure_notes
    ) as of_figure
    group by figure
)

select
    figure,
    title,
    view,
    rows,
    parameters,
    note
from known
left join notes using (figure)
order by known.place
