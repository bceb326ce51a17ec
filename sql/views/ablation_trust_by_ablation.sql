-- One row per run, set of rows and head: what each ablation says of the head, side by side.
-- Section 5.1 and 5.2: the rank by ablation (1: the logit falls most), the share of the direct
-- effect that the ablation hides, and the mean logit change, under resample, mean and zero
-- ablation, beside the rank by direct effect; null where an ablation was not measured. rank_spread
-- is the largest rank by an ablation less the smallest. All of it is in ablation_trust in long
-- form.
select
    run_id,
    row_set,
    layer,
    head,
    head_name(layer, head) as name,
    any_value(direct_effect) as direct_effect,
    any_value(direct_effect_se) as direct_effect_se,
    any_value(rank_by_direct_effect) as rank_by_direct_effect,
    any_value(rank_by_ablation) filter (where ablation = 'resample') as rank_by_ablation_resample,
    any_value(rank_by_ablation) filter (where ablation = 'mean') as rank_by_ablation_mean,
    any_value(rank_by_ablation) filter (where ablation = 'zero') as rank_by_ablation_zero,
    max(rank_by_ablation) - min(rank_by_ablation) as rank_spread,
    any_value(share_hidden) filter (where ablation = 'resample') as share_hidden_resample,
    any_value(share_hidden_se) filter (where ablation = 'resample') as share_hidden_resample_se,
    any_value(share_hidden) filter (where ablation = 'mean') as share_hidden_mean,
    any_value(share_hidden_se) filter (where ablation = 'mean') as share_hidden_mean_se,
    any_value(share_hidden) filter (where ablation = 'zero') as share_hidden_zero,
    any_value(share_hidden_se) filter (where ablation = 'zero') as share_hidden_zero_se,
    any_value(logit_change) filter (where ablation = 'resample') as logit_change_resample,
    any_value(logit_change_se) filter (where ablation = 'resample') as logit_change_resample_se,
    any_value(logit_change) filter (where ablation = 'mean') as logit_change_mean,
    any_value(logit_change_se) filter (where ablation = 'mean') as logit_change_mean_se,
    any_value(logit_change) filter (where ablation = 'zero') as logit_change_zero,
    any_value(logit_change_se) filter (where ablation = 'zero') as logit_change_zero_se,
    any_value(n_rows) as n_rows
from ablation_trust
group by all
