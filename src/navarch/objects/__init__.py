"""What built-in kinds mean, said once: every component that asks whether a pod is ready or a taint is tolerated asks here.

In: objects of `api`. Out: answers, and new objects. Everything here is pure: `now` is an argument. Reading order: `meta`, `ownership`,
`pods`, `tolerations`.

Upstream counterparts: pkg/api/v1/{pod,node}, k8s.io/component-helpers, apimachinery's meta/v1.
"""
