"""Plans the life of a language model: what to train and how to serve it, at the least cost."""
