-- One row per run, head, scale and sampled position: direct effect before and after its own output.
-- Fig. 9 (GPT2-Medium L21H1, scale 3) and 19 (scales 1, 3, 5): x is direct_effect, y is
-- direct_effect_after, with the line y = x; below it (above it, where x is negative) the head
-- represses itself. direct_effect_after has the clean scale S as in the paper's text;
-- direct_effect_after_rescaled has the changed run's, as the authors' script. Sampled: 5,000
-- positions; all are in self_reinforcement.
with

clean as (
    select
        run_id,
        sequence,
        position,
        ln_scale
    from tokens
)

select
    run_id,
    layer,
    head,
    head_name(layer, head) as name,
    scale,
    sequence,
    position,
    direct_effect,
    direct_effect_after,
    direct_effect_after - direct_effect as direct_effect_change,
    direct_effect_after * ln_scale / ln_scale_after as direct_effect_after_rescaled
from reinforcement_sample
join clean using (run_id, sequence, position)
