-- One row per sequence of a run's text.
-- Resampling replaces a head's z by that of the partner sequence at the same positions (section 2).
create table sequences (
    run_id varchar not null,
    sequence integer not null,
    resample_partner integer not null
);
