"""What others add to the server, and how the server calls them.

`clients` calls webhooks and extension servers, `services` finds the address behind a Service, `answers` says what an answer means.
"""
