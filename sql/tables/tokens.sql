-- One row per prediction position: position p of a sequence, whose target is the token at p + 1.
-- The last position of a sequence has no target and no row.
-- document is the target's; it is null in runs that were measured before the column was there.
-- logit = (x . u_t) / ln_scale + logit_bias, for the final residual x and target t.
create table tokens (
    run_id varchar not null,
    sequence integer not null,
    position integer not null,
    token integer not null,
    token_text varchar not null,
    target integer not null,
    target_text varchar not null,
    logit float not null,
    logit_bias float not null,
    ln_scale float not null,
    document integer
);
