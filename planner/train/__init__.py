"""One training run costed: the question, the layouts it allows, the best of them, what it takes and how sure."""
