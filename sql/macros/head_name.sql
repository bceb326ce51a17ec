-- One value: a head as it is written everywhere, L26H6; null where one of its numbers is.
-- Of views over all rows, such as self_repair, ask by layer and head rather than by name: a name is
-- made for every row that is read, while layer and head say which rows need not be.
create macro head_name(layer, head) as format('L{}H{}', layer, head)
