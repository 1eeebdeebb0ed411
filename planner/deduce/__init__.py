"""From a price card back to the model behind it: what prices and speeds tell, how surely, and what they cannot."""
