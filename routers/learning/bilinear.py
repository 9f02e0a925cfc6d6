"""Ridge regression of a table on its rows and columns at once: rewards ≈ x_p ⟨W⟩ e_t, in closed form.

With XᵀX = U S Uᵀ and EᵀE = V Q Vᵀ, the minimum of ‖R − X W Eᵀ‖² + λ‖W‖² is W = U [UᵀXᵀREV / (sᵢqⱼ + λ)] Vᵀ.
"""

import numpy as np

from routers.learning.learner import Floats


def fit_bilinear(
    features_PF: Floats, descriptions_TD: Floats, rewards_PT: Floats, penalty: float, rank: int | None = None
) -> Floats:
    """Return W, shape (F, D).

    Args:
        features_PF: rows.
        descriptions_TD: columns.
        rewards_PT: what is to be explained, 0 where nothing is known.
        penalty: λ.
        rank: keeps the directions of W that explain most of `rewards_PT` (reduced-rank regression, Izenman 1975);
            None keeps all.
    """
    s_F, rows_FF = np.linalg.eigh(features_PF.T @ features_PF)
    q_D, columns_DD = np.linalg.eigh(descriptions_TD.T @ descriptions_TD)
    s_F, q_D = np.maximum(s_F, 0.0), np.maximum(q_D, 0.0)
    crossed_FD = rows_FF.T @ (features_PF.T @ rewards_PT @ descriptions_TD) @ columns_DD
    inner_FD = crossed_FD / (np.outer(s_F, q_D) + penalty)
    if rank is not None and rank < min(inner_FD.shape):
        inner_FD = _reduced(inner_FD, np.sqrt(s_F + 1e-9), np.sqrt(q_D + 1e-9), rank)
    found: Floats = rows_FF @ inner_FD @ columns_DD.T
    return found


def _reduced(inner_FD: Floats, root_F: Floats, root_D: Floats, rank: int) -> Floats:
    """Keep the best `rank` directions, measured by what they add to the fitted table."""
    left, singular, right = np.linalg.svd(root_F[:, None] * inner_FD * root_D, full_matrices=False)
    kept = (left[:, :rank] * singular[:rank]) @ right[:rank]
    found: Floats = kept / root_F[:, None] / root_D
    return found
