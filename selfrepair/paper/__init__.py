"""What goes into a paper: figures as SVG and PDF, their captions, tables in LaTeX, methods text.

A figure is the app's own Plotly chart, drawn once more by Matplotlib at the width of a column: no
browser and no network is needed, and fonts are embedded.
"""
