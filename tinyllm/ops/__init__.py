"""The operations that language models are made of, each with its gradient beside it.

    y, saved = linear_forward(xp, x, weight)            what the model computes
    dx, dweight, _ = linear_backward(xp, dy, saved)     what training needs

A forward function returns its output and what its backward function needs. A backward function
takes `dy`, the gradient of the loss with respect to `y`, and returns the gradient with respect to
each array that the forward function took, in the same order; None where that is an integer or was
not given. Neither keeps state or changes an argument.

A line such as `x (..., C), weight (D, C) -> y (..., D)` gives shapes; `...` stands for any leading
axes, and dx always has the shape of x. The letters: B batch, T queries, S keys, D d_model, F d_ff,
H heads, K key/value heads, d head_dim, V vocabulary, N rows. The tests check every such line.
"""
