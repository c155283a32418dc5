"""Accounts, tokens and authorities of every namespace."""
