"""What the unknowns behind a card are called, and what is seen of them: apart from the model, which needs jax."""

UNKNOWNS = ("active_params", "sparsity", "kv_bytes_per_token", "chips", "markup")  # and the batch of every slot
SLOTS = ("standard", "long", "fast", "batch")  # tiers, and contexts beyond the step
LINES = ("input", "output", "tokens_per_s_per_user")
DERIVED = ("decode_mfu", "prefill_mfu", "balanced_context")
