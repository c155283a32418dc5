"""The verbs, one module each: from a call to an answer. `write` is the door through which all of them store; `deletion` decides what becomes of
what is deleted; `parts` binds each to what it needs, and `dispatch` finds the one for a call.
"""
