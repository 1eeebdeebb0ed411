"""What one model on one slice of chips does: how fast, how many at once, at what price, and how sure."""
