"""CEL: the expression language of custom resources, policies and match conditions, with Kubernetes' libraries.

In: an expression's text and what it may use. Out: whether it makes sense and what it can cost at most, then its value for an object and what
that did cost; what is wrong, in cel-go's words.

Reading order: `expressions` (text to something that can be evaluated), `parse` with `tokens`, `macros` and `syntax` (text to tree), `types`,
`environment`, `check` (what the tree means), `program` (the tree as closures), `values`, `times`, `functions/` (the libraries), `charges` and
`cost` (what it costs, and may cost), `declared` and `schema_values` (types and values by a structural schema), `rules` (x-kubernetes-validations).

Why it is written here and not taken from a library stands in docs/decisions/0011.

Upstream counterparts: cel-go, apiserver's pkg/cel, apiextensions-apiserver's pkg/apiserver/schema/cel.
"""
