"""HTTP extenders: services that have a say in where pods go.

Reading order: `client` (one extender), `attempts` (pods about which extenders are asked). What the settings say: `config.extenders`.

Upstream counterpart: pkg/scheduler/extender.go.
"""
