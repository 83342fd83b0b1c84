"""The pieces of a model that own parameters, each a forward/backward pair like an operation.

A layer takes its branch of the parameter tree, `p`, spelled as checkpoints spell it:

    y, saved = swiglu_forward(xp, x, p["mlp"])       p["mlp"]["up_proj"]["weight"] is an array
    dx, grads = swiglu_backward(xp, dy, saved)       grads is a tree of the same form

A backward function is its forward function read upwards, one line for one line. Where x is used
twice, its two gradients are added.
"""
