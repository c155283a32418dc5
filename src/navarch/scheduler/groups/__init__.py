"""Pod groups: pods that wait for each other, and are placed together or not at all.

Reading order: `pod_groups` (who belongs to which, and whether it is complete), `attempts` (groups that are tried); `core.gang` decides.

Upstream counterparts: plugins/gangscheduling, pkg/scheduler/schedule_one_podgroup.go.
"""
