-- Each sequence must have a partner that is not itself, and be the partner of exactly one.
-- Where not all sequences are measured yet, of at most one: its own may be among the others.
with

partners as (
    select
        resample_partner,
        count(*) as n_times
    from sequences
    group by all
)

select
    sequence,
    sequences.resample_partner,
    coalesce(n_times, 0) as n_times_a_partner
from sequences
join runs using (run_id)
left join partners
    on partners.resample_partner = sequences.sequence
where sequence = sequences.resample_partner
    or sequences.resample_partner not between 0 and n_sequences - 1
    or n_times > 1
    or (n_times is null and coalesce(n_sequences_measured, n_sequences) = n_sequences)
