-- One row per ablation, ablated head and prediction position.
-- The head is ablated at every position of the sequence at once; changes are ablated minus clean.
-- Direct effects keep the clean scale S; eq. (1) and (2) of the paper are the view self_repair.
-- S itself is in every row, so that the view needs no other table; it is null in runs that were
-- measured before the column was there. So is self_repair_from_post_norm, which is 0 in models
-- without a norm between the attention and the residual stream; no older run has a model with one.
create table head_ablations (
    run_id varchar not null,
    ablation varchar not null,
    layer smallint not null,
    head smallint not null,
    sequence integer not null,
    position integer not null,
    direct_effect float not null,
    direct_effect_ablated float not null,
    logit_change float not null,
    ln_scale float,
    ln_scale_ablated float not null,
    self_repair_from_heads float not null,
    self_repair_from_mlps float not null,
    self_repair_from_last_mlp float not null,
    self_repair_from_post_norm float
);
