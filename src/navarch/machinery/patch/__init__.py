"""Changing objects given as builtin values (dicts, lists, strings, numbers).

Reading order: `json_patch`, `merge`, `strategic` (each one `apply(tree, patch, ...)`, raising ApiErrors with upstream's words),
`fields` (sets of fields), `typed` (walking values with their schema), `apply` (server-side apply), `managed` (managedFields).
"""
