"""The API server: the only component that touches the store."""
