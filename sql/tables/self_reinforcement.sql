-- One row per head, scale and position: the head once more, with its own output in what it reads.
-- scale * (the head's output) is added to the residual stream that enters the head's layer, at this
-- position only; direct_effect_after is the head's new direct effect with the clean scale S.
-- Section 5.3 and appendix E, Fig. 9 and 19.
create table self_reinforcement (
    run_id varchar not null,
    layer smallint not null,
    head smallint not null,
    scale float not null,
    sequence integer not null,
    position integer not null,
    direct_effect float not null,
    direct_effect_after float not null,
    ln_scale_after float not null
);
