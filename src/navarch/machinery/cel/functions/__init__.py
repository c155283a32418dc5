"""The functions expressions may call: one literal table a library, each function with its overloads.

Ids are cel-go's. What a call costs stands in `cel.cost` and `cel.charges`, by the same ids.
"""
