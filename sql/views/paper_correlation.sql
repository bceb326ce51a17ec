-- One row per run of a model of the paper and quantity: how well the run agrees with the authors.
-- Over the heads (beside_paper): the correlation of the run's means with the authors', the means of
-- both, and the spread of their difference in the run's standard errors, with a median robust to
-- few wild heads. Text alone makes it difference_in_errors_expected = sqrt(1 + n_tokens /
-- 1,000,000): the authors' means over a million tokens have errors too.
select
    run_id,
    quantity,
    count(*) as n_heads,
    case
        when count(*) > 2
            and var_pop(value) > 0
            and var_pop(paper_value) > 0
            then corr(value, paper_value)
    end as correlation,
    avg(paper_value) as paper_value,
    avg(value) as value,
    sqrt(avg(difference ** 2)) as difference_rms,
    sqrt(avg(difference_in_errors ** 2)) as difference_in_errors_rms,
    median(abs(difference_in_errors)) as difference_in_errors_median,
    sqrt(1 + any_value(n_tokens) / 1e6) as difference_in_errors_expected
from beside_paper
join (
    select
        run_id,
        n_tokens
    from runs
) using (run_id)
group by all
