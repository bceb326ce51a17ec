-- One row per figure of the paper and view that answers it, and one for each numbered claim.
-- `select * from <view>` draws the figure for every run. rows says which rows are averaged or
-- drawn (top: the run's top_fraction, 2 % in the paper), parameters what can be chosen otherwise
-- and how, note where this differs from the paper.
select *
from (
    values
        (
            '1',
            'Self-repair per head and layer',
            'self_repair_by_head',
            'top by direct effect',
            'fraction: head_summary_at(fraction)',
            null
        ),
        (
            '2',
            'Mean direct effect against mean logit change, per head',
            'logit_change_by_head',
            'all',
            null,
            null
        ),
        (
            '3',
            'Direct effect against logit change, per token',
            'logit_change_by_token',
            'all, sampled',
            'all rows of a head: self_repair',
            'the same 5,000 positions of a run for every head, of its own sequence length; '
            || 'the paper takes 5,000 tokens in sequences of 100'
        ),
        (
            '4',
            'Histogram of the LayerNorm ratio under three ablations, and its share above 1',
            'layernorm_ratio_histogram',
            'top by direct effect',
            'fraction: top_by_direct_effect_at(fraction)',
            null
        ),
        (
            '5',
            'Direct effect against logit change, per token, under three ablations',
            'logit_change_by_ablation',
            'all, sampled',
            'all rows of a head: self_repair',
            '5,000 positions; the paper takes 10,000. Mean ablation takes the mean z over the '
            || 'whole run, the authors that over a batch'
        ),
        (
            '6',
            'Self-repair from LayerNorm per head and layer',
            'layernorm_repair_by_head',
            'top by direct effect',
            'fraction: head_summary_at(fraction)',
            null
        ),
        (
            '10',
            'LayerNorm part as an unclipped fraction of the direct effect',
            'layernorm_fraction_unclipped_by_head',
            'all',
            null,
            'rows whose direct effect is exactly 0 are left out; the authors would get infinity. '
            || 'The ratio of the means stands beside it'
        ),
        (
            '11',
            'LayerNorm part as a clipped fraction of the direct effect',
            'layernorm_fraction_by_head',
            'top by direct effect',
            'fraction: head_summary_at(fraction)',
            null
        ),
        (
            '16',
            'Histogram of the residual-norm ratio under three ablations',
            'residual_norm_histogram',
            'all',
            null,
            'the ratio of the final norm''s divisors, which is that of the norms about the mean '
            || '(LayerNorm) or of the norms (RMSNorm)'
        ),
        (
            '17',
            'Figure 4 for GPT2-Small L11H10',
            'layernorm_ratio_histogram',
            'top by direct effect',
            'fraction: top_by_direct_effect_at(fraction)',
            null
        ),
        (
            '18',
            'Figure 4 for GPT2-Small L11H3',
            'layernorm_ratio_histogram',
            'top by direct effect',
            'fraction: top_by_direct_effect_at(fraction)',
            null
        ),
        ('20', 'Figure 2 for Llama-7B', 'logit_change_by_head', 'all', null, null),
        ('21', 'Figure 2 for Pythia-410M', 'logit_change_by_head', 'all', null, null),
        ('22', 'Figure 2 for GPT2-Medium', 'logit_change_by_head', 'all', null, null),
        (
            'section 2.3',
            'Correlation, overcorrection and breakage per head; spread over tokens',
            'self_repair_noise',
            'all, and top by direct effect',
            null,
            'breakage and overcorrection count for negative direct effects too'
        ),
        (
            'section 2.3, per prompt',
            'Self-repair per sequence',
            'self_repair_by_sequence',
            'all, and top by direct effect',
            null,
            'a prompt is a sequence of the run'
        )
) as known (figure, title, view, rows, parameters, note)
