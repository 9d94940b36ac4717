"""Define what every other package builds on: types, contracts, errors, records, files, plug-ins and child processes.

The public modules are `types`, `contracts`, `errors` and `plugins`; the package imports no other package of bench.
"""
