-- One row per run and head: the heads whose neurons are worth a look, the largest mean first.
-- Of the ablated heads that the last MLP layer is downstream of (in a parallel model it is not of
-- those of the last layer), the n of largest mean direct effect over all rows. The paper takes
-- heads "before the final MLP layer which have a large average direct effect" (section 4.2).
create macro most_direct_heads(n) as table
with

means as (
    select
        run_id,
        layer,
        head,
        avg(direct_effect::double) as direct_effect
    from direct_effects
    join runs using (run_id)
    semi join ablated_heads() using (run_id, layer, head)
    where layer < n_layers - parallel_attention::integer
    group by all
)

select *
from means
qualify row_number() over (
    partition by run_id
    order by
        direct_effect desc,
        layer,
        head
) <= n
order by
    run_id,
    direct_effect desc,
    layer,
    head
