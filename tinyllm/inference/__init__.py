"""Text out of a model: the KV cache, the choice of the next token, and when to stop."""
