-- One row per head and prediction position, on the clean run.
-- direct_effect = (c . u_t) / S, for the head's output c (without b_O) and the clean scale S.
create table direct_effects (
    run_id varchar not null,
    layer smallint not null,
    head smallint not null,
    sequence integer not null,
    position integer not null,
    direct_effect float not null
);
