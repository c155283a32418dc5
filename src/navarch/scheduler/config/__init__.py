"""The scheduler's configuration: a KubeSchedulerConfiguration file, read into values.

Reading order: `types` (the file's shape), `configuration` (the whole), `profiles` (profiles of it), `plugin_sets` (which plugins run
where), `own_plugins` (those that are not built in), `extenders`.

Upstream counterpart: pkg/scheduler/apis/config.
"""
