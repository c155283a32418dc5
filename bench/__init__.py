"""Benchmarks: figures printed beside the targets; nothing here passes or fails.

`python -m bench` measures the API server; `--against KUBECONFIG` measures another server (upstream's) in the same sitting.
"""
