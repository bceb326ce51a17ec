"""One file per page of the app: what the visitor chooses there, and in which order things stand.

No SQL, no chart and no wording of numbers lives here: pages put together what other rooms make.
"""
