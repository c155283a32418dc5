"""The verbs, one module each. `loop`'s chain ends here: `dispatch` finds the verb for a request."""
