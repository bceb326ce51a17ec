-- One value: a head as it is written everywhere, L26H6; null where one of its numbers is.
create macro head_name(layer, head) as format('L{}H{}', layer, head)
