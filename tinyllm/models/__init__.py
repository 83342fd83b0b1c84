"""From a config to a model: which shapes, which layers, in which order, forward and backward."""
