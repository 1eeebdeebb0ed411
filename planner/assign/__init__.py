"""Which model and tier each task deserves: the cheapest offer that keeps its promises, and what each promise costs."""
