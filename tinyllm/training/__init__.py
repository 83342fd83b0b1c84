"""From a random model to a trained one: gradients of batches, optimisers, the loop, its files."""
