-- One row per run: whether its sequences begin with BOS.
-- They do where all of several sequences have the same first token: text has none at position 0 of
-- every sequence.
select
    run_id,
    count(*) > 1 and count(distinct token) = 1 as begins_with_bos,
    if(begins_with_bos, any_value(token_text), null) as bos_text
from tokens
where position = 0
group by all
