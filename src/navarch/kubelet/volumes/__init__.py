"""Volumes of pods on this node: made before the containers, kept up to date while they run, removed after them.

`mounter` knows the kinds of volumes, `atomic` writes files so that readers see all or nothing, `system` is mounts and ownership.
Upstream's counterparts: pkg/kubelet/volumemanager and pkg/volume.
"""
