"""Training: what a run takes, how large a batch it can use, what interrupts it, and where its tokens come from."""
