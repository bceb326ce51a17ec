-- One row per given test: its p_value, corrected for how many tests its family has.
-- After Benjamini and Hochberg: of the tests with adjusted_p up to 5 %, at most 5 % are expected to
-- be false. `tests` names a relation with the columns family and p_value; a null one is no test.
create macro adjusted_p(tests) as table
with

placed as (
    select
        *,
        row_number() over (
            partition by family
            order by p_value nulls last
        ) as place,
        count(p_value) over (partition by family) as n_tests
    from query_table(tests)
)

select
    * exclude (place, n_tests),
    case
        when p_value is not null
            then least(1, min(p_value * n_tests / place) over (
                partition by family
                order by place desc
                rows between unbounded preceding and current row
            ))
    end as adjusted_p
from placed
