-- One row per run, head and sampled token: its direct effect and the logit change of each ablation.
-- Fig. 5 (section 3.2): x is direct_effect, one y per ablation, null where it was not measured.
-- Sampled: the same 5,000 positions of a run for every head, by md5 (sampled_rows); the paper draws
-- 10,000 tokens. The same in long form is logit_change_by_token.
select
    run_id,
    layer,
    head,
    name,
    sequence,
    position,
    any_value(direct_effect) as direct_effect,
    any_value(logit_change) filter (where ablation = 'resample') as logit_change_resample,
    any_value(logit_change) filter (where ablation = 'mean') as logit_change_mean,
    any_value(logit_change) filter (where ablation = 'zero') as logit_change_zero
from sampled_rows
group by all
