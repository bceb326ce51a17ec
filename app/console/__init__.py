"""The SQL page's engine: a visitor's own statement, run in a process that can do nothing but read.

Nothing else of the app runs here, and nothing here knows Streamlit.
"""
