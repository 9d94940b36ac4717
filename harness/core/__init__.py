"""What every other package builds on: types, contracts, errors, records, files, plug-ins and child processes.

Its public face is `types`, `contracts`, `errors` and `plugins`; it imports no other package of ours.
"""
