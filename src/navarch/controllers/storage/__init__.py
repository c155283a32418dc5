"""Claims and volumes: bound, protected, made for pods."""
