"""Custom resources: what CustomResourceDefinitions say is served, and how.

Reading order: `definition` (what is read of a definition), `custom` (objects that have no generated type, and their shape), `schemas` (what
follows from a version's schema), `strategy` and `columns` (a kind's strategy made from a version), `versions` (the caches of a
resource's versions), `conversion` (from one version to another), `planning` (from the definitions there are to what is to be done: pure),
`definitions` (the loop that does it).

Upstream counterpart: apiextensions-apiserver.
"""
