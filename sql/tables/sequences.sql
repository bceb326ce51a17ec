-- One row per sequence of a run's text.
-- document_numbers are those that its targets are of, in their order, document_names what they are
-- called in the corpus; null in runs that were measured before the columns were there.
-- Resampling replaces a head's z by that of the partner sequence at the same positions (section 2).
create table sequences (
    run_id varchar not null,
    sequence integer not null,
    resample_partner integer not null,
    document_numbers integer[],
    document_names varchar[]
);
