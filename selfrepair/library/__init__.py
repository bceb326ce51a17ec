"""The project as a library: a warehouse that is opened, asked, drawn and measured from Python.

What a notebook needs and nothing of the command line's; it asks the views and defines nothing.
"""
