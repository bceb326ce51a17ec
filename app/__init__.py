"""The Streamlit app: look at the published warehouse first, then ask it with SQL.

Pages use page parts, these use figures, and figures use questions, charts and wording; never the
other way. Only `main.py`, which says what pages there are, lives beside the rooms.
"""
