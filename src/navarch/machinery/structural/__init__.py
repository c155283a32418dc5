"""Structural schemas: what a CustomResourceDefinition says of its objects, and what follows from it for one of them.

In: an `openAPIV3Schema`, as a struct of `api.apiextensions.v1` or as plain dicts; objects as plain dicts. Out: whether the schema
may stand, objects pruned and defaulted, and what is wrong with one, in upstream's words.

Reading order: `schema` (the tree), `structural` (whether a schema may stand), `prune`, `default`, `coerce` (objects made good),
`check` (whether an object is valid, fast), `validate` (what is wrong with it, exactly), `lists`, `ratcheting`, `publish` (the
OpenAPI form). Rules in CEL stand in `machinery.cel.rules`, on the same tree.

Everything here is pure and walks along a schema, whose depth is bounded (`schema.MAX_DEPTH`).

Upstream counterparts: apiextensions-apiserver's pkg/apiserver/schema, pkg/apiserver/validation, pkg/apis/apiextensions/validation.
"""
