-- One list: the sums over several lists of equal length, item by item.
-- Grouping unnested items by their place instead takes twice the time.
create macro summed_lists(lists) as
    case
        when len(lists) = 1 then lists[1]::double[]
        else list_transform(
            range(1, len(lists[1]) + 1),
            lambda i: list_sum(list_transform(lists, lambda one: one[i]::double))
        )
    end
