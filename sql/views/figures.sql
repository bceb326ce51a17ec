-- One row per figure of the paper and view that answers it, and one for each numbered claim.
-- `select * from <view>` draws the figure for every run that measured it. rows says which rows are
-- averaged or drawn (top: the run's top_fraction, 2 % in the paper), parameters what can be chosen
-- otherwise and how, note every way in which this differs from the paper (figure_notes),
-- a line each; claim is what the paper says of it and where, in our words, or its own between “ ”;
-- where its text and its captions name different heads or figures, both are named.
with

known as (
    select
        *,
        row_number() over () as place
    from (
        values
            (
                '1', 'Self-repair per head and layer',
                'self_repair_by_head', 'top by direct effect',
                'fraction: head_summary_at(fraction)', null, null,
                '“Self-Repair exists across many later layers in different models, although the '
                || 'amount varies between heads” (caption; section 2.2).'
            ),
            (
                '2', 'Mean direct effect against mean logit change, per head',
                'logit_change_by_head', 'all', null, null, null,
                'Pythia-1B: many heads lie between the line y = −x and the x-axis, the last '
                || 'layer''s among them; the paper calls these self-repaired. They are not '
                || 'repaired perfectly: ablating them leaves “a small, but noticeable, logit '
                || 'difference” (section 2.2).'
            ),
            (
                '3', 'Direct effect against logit change, per token',
                'logit_change_by_token', 'all, sampled',
                'all rows of a head: self_repair', null, null,
                'Pythia-410M, four heads: within one head the values “can vary highly”. L22H11 '
                || 'and L20H6 appear to be self-repaired on average; L23H1 and L20H14 show no '
                || 'clear correlation (section 2.3).'
            ),
            (
                '4',
                'Histogram of the LayerNorm ratio under each ablation, and its share above 1',
                'layernorm_ratio_histogram', 'top by direct effect',
                'fraction: top_by_direct_effect_at(fraction)', 'pythia-160m', 'L11H2',
                'Pythia-160M L11H2: 90.66 % of the ratios are above 1 under resample, 98.75 % '
                || 'under mean and 100 % under zero ablation (section 3.2).'
            ),
            (
                '5', 'Direct effect against logit change, per token, under each ablation',
                'logit_change_by_ablation', 'all, sampled',
                'all rows of a head: self_repair', null, null,
                'Zero ablation can raise the logit of the target where the head''s direct '
                || 'effect is positive. In this head of Pythia-160M''s last layer only LayerNorm '
                || 'can repair (section 3.2, which names L11H10; the caption has L11H0).'
            ),
            (
                '6', 'Self-repair from LayerNorm per head and layer',
                'layernorm_repair_by_head', 'top by direct effect',
                'fraction: head_summary_at(fraction)', null, null,
                '“LayerNorm has a significant effect on later layers of the model” (caption; '
                || 'section 3.2).'
            ),
            (
                '7', 'The most repairing neuron of each token: clean against ablated direct effect',
                'top_repairing_neuron', 'top by mlp repair, chosen heads',
                'heads: --neuron-heads; every neuron: neuron_ablations', 'pythia-160m', 'L10H11',
                'Pythia-160M L10H11: at many tokens the most repairing neuron has a negative '
                || 'clean direct effect, and a less negative one when the head is ablated: '
                || 'anti-erasure. The whole MLP layer''s direct effect is almost always positive '
                || '(section 4.1).'
            ),
            (
                '7, histogram', 'Histogram of the clean direct effect of the most repairing neuron',
                'top_repairing_neuron_histogram', 'top by mlp repair, chosen heads',
                'heads: --neuron-heads', 'pythia-160m', 'L10H11',
                'Pythia-160M L10H11: the most repairing neuron typically has a negative clean '
                || 'direct effect (caption of figure 7; section 4.1).'
            ),
            (
                '8', 'How often the Nth most repairing neuron repairs a share of the direct effect',
                'repairing_neuron_frequency', 'top by direct effect',
                'threshold: repairing_neuron_frequency_at(threshold)', null, null,
                'A sparse number of neurons repairs heavily: in Llama-7B the most repairing '
                || 'neuron repairs 10 % of the direct effect of L30H8 in over 40 % of the '
                || 'instances (section 4.2).'
            ),
            (
                '9', 'Direct effect before and after the head''s own output, times 3, is added',
                'self_reinforcement_by_token', 'all measured, sampled',
                'scale: the column scale; all positions: self_reinforcement', 'gpt2-medium',
                'L21H1',
                'GPT2-Medium L21H1, its output added three times: “L21H1 has a decreased direct '
                || 'effect as a result” (caption; section 5.3).'
            ),
            (
                '10', 'LayerNorm part as an unclipped fraction of the direct effect',
                'layernorm_fraction_unclipped_by_head', 'all', null, null, null,
                'As a fraction of the direct effect self-repair can have extreme values, which '
                || 'skew an average immensely; a head''s direct effect is sparse (appendix A).'
            ),
            (
                '11', 'LayerNorm part as a clipped fraction of the direct effect',
                'layernorm_fraction_by_head', 'top by direct effect',
                'fraction: head_summary_at(fraction)', null, null,
                'Around 30 % of the direct effect on average, across many layers; best treated '
                || 'as directional rather than precise. Because of the clipping it could also be '
                || 'read as: in 30 % of the cases LayerNorm repairs more than the direct effect '
                || '(section 3.2, appendix A). Not in the paper, but means over heads of what its '
                || 'authors stored: Pythia-160M 0.341, GPT2-Small 0.318, Pythia-410M 0.251, '
                || 'GPT2-Medium 0.296.'
            ),
            (
                '12', 'Cumulative share of the absolute change over neurons',
                'neuron_cumulative_change', 'top by direct effect',
                null, 'llama-7b', 'L30H8',
                'Llama-7B L30H8: only the top neuron is an erasure neuron on average. Those '
                || 'from the top 2,000 to the top 9,000 explain less than 15 % of the change, so '
                || 'that roughly 60 % are negligible (appendix C, which names figure 15 for it; '
                || 'only Llama-7B has so many neurons).'
            ),
            (
                '13',
                'Cumulative share of the absolute change over neurons '
                || '(in the paper: GPT2-Small L9H11)',
                'neuron_cumulative_change', 'top by direct effect',
                null, 'gpt2', 'L9H11',
                'GPT2-Small L9H11. Roughly 60 % of the layer''s neurons have negligible '
                || 'changes; in almost all of figures 12 to 15 the most repairing neurons have a '
                || 'negative clean direct effect (appendix C).'
            ),
            (
                '14',
                'Cumulative share of the absolute change over neurons '
                || '(in the paper: Pythia-160M L7H8)',
                'neuron_cumulative_change', 'top by direct effect',
                null, 'pythia-160m', 'L7H8',
                'Pythia-160M L7H8. Roughly 60 % of the layer''s neurons have negligible '
                || 'changes; in almost all of figures 12 to 15 the most repairing neurons have a '
                || 'negative clean direct effect (appendix C).'
            ),
            (
                '15',
                'Cumulative share of the absolute change over neurons '
                || '(in the paper: Pythia-410M L17H4)',
                'neuron_cumulative_change', 'top by direct effect',
                null, 'pythia-410m', 'L17H4',
                'Pythia-410M L17H4. Roughly 60 % of the layer''s neurons have negligible '
                || 'changes; in almost all of figures 12 to 15 the most repairing neurons have a '
                || 'negative clean direct effect (appendix C).'
            ),
            (
                '16', 'Histogram of the residual-norm ratio under each ablation',
                'residual_norm_histogram', 'all',
                null, 'pythia-160m', 'L11H0',
                'Pythia-160M L11H0: the norm changes most under zero ablation. That a head of '
                || 'the last layer can lower it by around 5 % is not surprising (appendix D).'
            ),
            (
                '17',
                'Histogram of the LayerNorm ratio under each ablation, and its share above 1 '
                || '(in the paper: GPT2-Small L11H10)',
                'layernorm_ratio_histogram', 'top by direct effect',
                'fraction: top_by_direct_effect_at(fraction)', 'gpt2', 'L11H10',
                'GPT2-Small L11H10: under all ablations the ratios seem to be similar (appendix '
                || 'D, which names L11H11 and figure 18 for it).'
            ),
            (
                '18',
                'Histogram of the LayerNorm ratio under each ablation, and its share above 1 '
                || '(in the paper: GPT2-Small L11H3)',
                'layernorm_ratio_histogram', 'top by direct effect',
                'fraction: top_by_direct_effect_at(fraction)', 'gpt2', 'L11H3',
                'GPT2-Small L11H3: zero ablation changes the LayerNorm more extremely than the '
                || 'other ablations do (appendix D).'
            ),
            (
                '19',
                'Direct effect before and after the head''s own output, times 1, 3 and 5, is added',
                'self_reinforcement_by_token', 'all measured, sampled',
                'scale: the column scale; all positions: self_reinforcement', 'gpt2-medium',
                'L21H1',
                'GPT2-Medium L21H1, its output added 1, 3 and 5 times: how far the head '
                || 'represses itself is proportional to that scale (appendix E).'
            ),
            (
                '20',
                'Mean direct effect against mean logit change, per head '
                || '(in the paper: Llama-7B)',
                'logit_change_by_head', 'all', null, null, null,
                'Figure 2 for Llama-7B; no more is said of it (appendix F).'
            ),
            (
                '21',
                'Mean direct effect against mean logit change, per head '
                || '(in the paper: Pythia-410M)',
                'logit_change_by_head', 'all', null, null, null,
                'Figure 2 for Pythia-410M; no more is said of it (appendix F).'
            ),
            (
                '22',
                'Mean direct effect against mean logit change, per head '
                || '(in the paper: GPT2-Medium)',
                'logit_change_by_head', 'all', null, null, null,
                'Figure 2 for GPT2-Medium; no more is said of it (appendix F).'
            ),
            (
                'section 2.3',
                'Self-repair over a head''s tokens: correlation, overcorrection, breakage, spread',
                'self_repair_noise', 'all, and top by direct effect', null, null, null,
                'Self-repair is “extremely noisy”: often far less, or more, than the head''s '
                || 'direct effect, and many heads'' direct effects have no clear correlation with '
                || 'the change in logits (section 2.3). Repair of the other sign than a positive '
                || 'direct effect is downstream breakage (section 2.1).'
            ),
            (
                'section 2.3, per prompt', 'Self-repair per sequence (a prompt of the paper)',
                'self_repair_by_sequence', 'all, and top by direct effect', null, null, null,
                '“The degree of self-repair varies significantly across different prompts” '
                || '(abstract; section 2.3).'
            ),
            (
                'section 4.2.1', 'Positive against net change of the last MLP layer''s neurons',
                'neuron_change_by_head', 'top by direct effect', null, null, null,
                'The repair of the most repairing neurons may sum to well over the layer''s: '
                || 'other neurons'' reduced direct effects compensate for it (section 4.2.1).'
            ),
            (
                'section 4.2.1, negligible',
                'Share of neurons whose change in direct effect is negligible',
                'negligible_neurons', 'top by direct effect',
                'threshold: the column threshold', null, null,
                'The authors suspect that roughly 60 % of the last layer''s neurons have '
                || 'negligible changes, and that those of the other 40 % are small and cancel out, '
                || 'but are not negligible together (section 4.2.1, appendix C).'
            ),
            (
                'section 4.2.2', 'How often each neuron is among the ten most repairing',
                'neuron_frequency', 'top by mlp repair, and top by direct effect, chosen heads',
                'the column ranking', 'pythia-160m', 'L10H11',
                'Pythia-160M L10H11: no neuron is among the ten most repairing in more than 16 '
                || '% of the tokens (section 4.2.2).'
            ),
            (
                'section 5.1',
                'Can the ablation of a head be trusted: ranks by direct effect and by ablation',
                'ablation_trust', 'all, and top by direct effect', null, null, null,
                'Self-repair makes ablations “an unreliable tool”; but what matters for finding '
                || 'a circuit is whether a component is important, and self-repair is imperfect '
                || '(section 5.1).'
            ),
            (
                'section 5.1, by run',
                'How far ablation and direct effect agree on a model''s heads',
                'ablation_trust_by_run', 'all, and top by direct effect', null, null, null,
                'If the degree of self-repair differs between components, borderline ones may '
                || 'be included or left out wrongly (section 5.1).'
            ),
            (
                'section 5.2', 'What each ablation says of a head, side by side',
                'ablation_trust_by_ablation', 'all, and top by direct effect', null, null, null,
                'To stay near the model''s distribution, avoid zero ablation, which changes the '
                || 'residual stream''s norm most, or freeze LayerNorm while ablating (section 5.2).'
            ),
            (
                'section 5.3', 'Which heads are self-reinforcing, self-repressing or neither',
                'self_reinforcing_heads', 'all measured',
                'limits: self_reinforcing_heads_at(minimum, level)', null, null,
                'The direct effect of a self-reinforcing or self-repressing head increases or '
                || 'decreases in proportion to how much of its output is added. Not all heads are '
                || 'one or the other; some appear to be combinations of the two (section 5.3).'
            ),
            (
                'appendix E', 'Self-repression is proportional to the scale',
                'self_reinforcement_by_scale', 'all measured', null, null, null,
                'How far a head represses itself is proportional to how much of its own output '
                || 'is added (appendix E).'
            ),
            (
                'who repairs whom',
                'Change in direct effect of every downstream head and MLP layer',
                'component_repairs', 'top by direct effect', null, null, null, 'Not in the paper.'
            ),
            (
                'positions',
                'Direct effect, what was removed of it, logit change and self-repair by position',
                'effects_by_position', 'all',
                'head_means_without_first(numbers)', null, null, 'Not in the paper.'
            ),
            (
                'what is repaired',
                'Of what an ablation removes of a head, what becomes: repaired, broken, or neither',
                'head_kinds', 'all, and top by direct effect', null, null, null, 'Not in the paper.'
            ),
            (
                'post-norm', 'Self-repair from the post-norm per head and layer',
                'post_norm_repair_by_head', 'top by direct effect',
                'fraction: head_summary_at(fraction)', null, null,
                'Not in the paper, none of whose models has a norm between attention and '
                || 'residual stream.'
            ),
            (
                '1, over training', 'Self-repair per layer, step by step of training',
                'layers_over_training', 'top by direct effect', null, null, null,
                'Not in the paper: its models are finished ones.'
            ),
            (
                '6, over training',
                'Self-repair from LayerNorm per layer, step by step of training',
                'layers_over_training', 'top by direct effect', null, null, null,
                'Not in the paper: its models are finished ones.'
            ),
            (
                '11, over training',
                'Self-repair from LayerNorm as a fraction of the direct effect, step by step of '
                || 'training',
                'layers_over_training', 'top by direct effect', null, null, null,
                'Not in the paper: its models are finished ones.'
            ),
            (
                'what is repaired, by run', 'How much of what is removed is repaired, and by what',
                'run_repair', 'all, and top by direct effect', null, null, null, 'Not in the paper.'
            ),
            (
                'published numbers', 'A run beside the authors'' published means, head by head',
                'beside_paper', 'top by direct effect, resample', null, null, null,
                'Not in the paper: these are means that its authors stored with their code.'
            ),
            (
                'published numbers, by quantity',
                'Correlation of a run with the authors'' published means',
                'paper_correlation', 'top by direct effect, resample', null, null, null,
                'Not in the paper: the authors'' means are those stored with their code.'
            )
    ) as known (figure, title, view, rows, parameters, paper_model, paper_head, claim)
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
    group by all
)

select
    figure,
    title,
    view,
    rows,
    parameters,
    note,
    claim,
    paper_model,
    paper_head
from known
left join notes using (figure)
order by known.place
