"""What speed costs: the least price at every latency, over batch, replica size and layout, and the tiers on it."""
