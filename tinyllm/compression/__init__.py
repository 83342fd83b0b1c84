"""Make a trained model smaller: find the weights and the layers that it can do without.

Weights are pruned on the host, one matrix after another, by pure functions:

    scores (D, C)  ->  mask (D, C), True where a weight goes  ->  pruned weight (D, C)

The backend runs the model that tells what each matrix is given. Whole heads, neurons, channels and
blocks go by `llm_pruner`, `minitron` and `depth`; what is left learns again by `distillation`.
"""
