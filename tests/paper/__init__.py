"""What goes into a paper: figures at a column's width, captions, tables, methods text."""
