"""The paper's figures: each a question, a chart and a caption under one name; the report of all.

What a figure shows, and what the paper says of it, stands in `sql/views/figures.sql`. No page lives
here: a figure does not know where it is shown.
"""
