"""Scaling laws fitted to a table of training runs: what is asked, the table, the answer, and its file."""
