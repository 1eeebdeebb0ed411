"""Served runs as measured: read, predicted, compared, and engine profiles fitted to them."""
