"""The kubelet's decisions, without any effect: no await, no I/O, no clock, no randomness."""
