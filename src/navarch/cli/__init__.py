"""The command line: `navarch COMMAND`. Read `main.py` (the table of commands), `flags.py`, then the commands themselves.

Modules are imported when their command is chosen: `navarch --help` must not cost more than starting Python.
"""
