-- One value: whether two runs were measured on the same text, token by token.
-- Of the same text are the clusters too, so that errors of differences can be paired by cluster.
-- Two tokenizers that cut a text otherwise make it another one.
create macro same_text(run, other_run) as
    run = other_run
    or (
        select count(*) = 2 and min(content) = max(content) and min(n_tokens) = max(n_tokens)
        from (
            select
                count(*) as n_tokens,
                bit_xor(hash(sequence, position, token_text, target_text, document)) as content
            from tokens
            where run_id in (run, other_run)
            group by run_id
        )
    )
