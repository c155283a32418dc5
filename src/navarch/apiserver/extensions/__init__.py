"""What others add to the server: custom resources, and how the server calls webhooks and extension servers.

Custom resources, in reading order: `definition` (what is read of a definition), `custom` (objects that have no generated type, and their shape),
`schemas` (what follows from a version's schema), `strategy` and `columns` (a kind's strategy made from a version), `versions` (the caches of a
resource's versions), `conversion` (from one version to another), `planning` (from the definitions there are to what is to be done: pure),
`definitions` (the loop that does it).

Calls: `clients` calls webhooks and extension servers, `services` finds the address behind a Service, `answers` says what an answer means.

Upstream counterparts: apiextensions-apiserver, apiserver's pkg/util/webhook.
"""
