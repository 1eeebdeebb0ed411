"""Settings of training software, one file per framework: text to paste, and what it cannot say."""
