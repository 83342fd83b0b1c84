"""How much a weight matters: the lower its score, the sooner it goes."""

from typing import Any

import numpy as np


def magnitude_scores(weight: Any) -> Any:
    """Score a weight by its size: S = |W|.

    weight (D, C) -> scores (D, C)

    Han et al. 2015, "Learning both weights and connections" (arXiv:1506.02626), section 3.
    """
    return np.abs(weight)


def wanda_scores(weight: Any, norms: Any) -> Any:
    """Score a weight by its size times the norm of what it multiplies: S_ij = |W_ij| ‖X_j‖₂.

    weight (D, C), norms (C,) -> scores (D, C)

    Sun et al. 2023, "A simple and effective pruning approach for large language models"
    (arXiv:2306.11695), eq. 1. ‖X_j‖₂ is over all calibration tokens; a common factor of all norms
    changes no order.
    """
    return np.abs(weight) * norms
