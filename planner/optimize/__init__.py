"""The planning problem: its convex programs, their solver, and everything said of a solution."""
