"""Admission: what may change or refuse a write after authorization and before it is stored.

`attributes` says what is known of a write, `chain` runs the plugins, `table` lists them in order; one module for each area holds what they do.

Upstream counterparts: apiserver's admission chain and plugin/pkg/admission/*.
"""
