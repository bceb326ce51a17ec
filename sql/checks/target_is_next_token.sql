-- A position's target must be the token at the next position.
select
    here.sequence,
    here.position,
    here.target,
    following.token as next_token
from tokens as here
join tokens as following
    on following.sequence = here.sequence
    and following.position = here.position + 1
where here.target is distinct from following.token
    or here.target_text is distinct from following.token_text
