"""Plotly charts as pure functions of rows.

No chart asks for its rows, knows Streamlit, or computes a quantity that a view could have.
"""
