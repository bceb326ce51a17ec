-- One row per run and ablated head: those that a run was told to ablate, by default all.
-- Rows are joined with this: to make a name for each, to look it up in runs.heads, takes 14 times
-- as long as to rank them.
create macro ablated_heads() as table
    select
        run_id,
        layer::smallint as layer,
        head::smallint as head
    from runs, range(n_layers) as layers(layer), range(n_heads) as heads_of_layer(head)
    where heads is null
        or list_contains(heads, head_name(layer, head))
