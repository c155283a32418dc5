"""Pods: `kind` holds what the server fills in and keeps and the table, `validation` the rules, `row` what tables show."""
