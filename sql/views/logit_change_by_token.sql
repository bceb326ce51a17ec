-- One row per run, ablation, head and sampled token: direct effect against logit change.
-- Fig. 3 (section 2.3): x is direct_effect, y is logit_change, with the line y = -x; the paper
-- draws four heads of Pythia-410M on 5,000 tokens. Sampled: the same 5,000 positions of a run for
-- every head, by md5 (sampled_rows). All rows of one head are in self_repair.
select
    run_id,
    ablation,
    layer,
    head,
    name,
    sequence,
    position,
    direct_effect,
    logit_change,
    self_repair,
    overcorrected,
    broken,
    logit_change * direct_effect < 0
    and abs(logit_change) < abs(direct_effect) as self_repaired
from sampled_rows
