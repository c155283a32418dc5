"""Authorization: whether a user may do what was asked.

`questions` says what is asked and answered, `node` and `rbac` are the two that know something, `authorizer` asks them in order.
`policy` holds the roles that every cluster has, `references` what a pod refers to.

Upstream counterparts: plugin/pkg/auth/authorizer/{node,rbac}.
"""
