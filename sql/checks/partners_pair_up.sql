-- Each sequence must have a partner that is not itself, and be the partner of exactly one.
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
left join partners
    on partners.resample_partner = sequences.sequence
where sequence = sequences.resample_partner
    or coalesce(n_times, 0) <> 1
