-- One row per MLP layer and prediction position, on the clean run.
-- direct_effect = (c . u_t) / S, for the MLP layer's output c and the clean scale S.
create table mlp_effects (
    run_id varchar not null,
    layer smallint not null,
    sequence integer not null,
    position integer not null,
    direct_effect float not null
);
