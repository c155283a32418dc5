"""The kinds of the core group ("" in the API), by what they are about. Pods are in `kinds.pods`."""
