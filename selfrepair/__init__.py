"""Self-repair in language models, measured into a warehouse and asked with SQL.

The parts of the project lie at the top of the checkout, where one sees them, and are imported from
here: `selfrepair.app` is the folder `app/`, and so on. The links in this folder do that, so that an
installed wheel takes one name from everybody and not `app` and `sql`.
"""
