"""Numbers that the server gives out: addresses of Services and node ports."""
