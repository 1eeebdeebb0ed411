"""Transformer shapes: smooth in N for planning, whole for building, as they are for serving."""
