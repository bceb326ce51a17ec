"""What pages are put together from: widgets, tables, figures on a page, the state in the address.

Only here and in the pages is Streamlit drawn with; nothing here asks DuckDB by itself.
"""
