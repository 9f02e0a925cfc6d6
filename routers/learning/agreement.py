"""Does the gain hold under a judge that the router has not seen? Each reward is held out in turn."""

import numpy as np

from arbitrage.candidates.matrix import Floats, RewardMatrix, best_admitted, chosen, teacher_means
from arbitrage.candidates.queries import Rows
from routers.learning.consensus import agreed_advantage, spread
from routers.learning.crossval import Told, predict_held_out, silent
from routers.learning.learner import LearnerConfig


def hold_out_rewards(
    learner: LearnerConfig, matrix: RewardMatrix, fold_P: Rows, told: Told = silent
) -> dict[str, Floats]:
    """Choose where all rewards but one agree, and evaluate by that one.

    Returns:
        By the reward held out: its gain above the best single teacher (by the others, of those admitted) on each
        prompt, shape (P,), in standard deviations.
    """
    rewards = matrix.rewards_by_name
    expected = {
        name: predict_held_out([learner], matrix.rewarded_by(reward_PT), fold_P, told)[0] / spread(reward_PT)
        for name, reward_PT in sorted(rewards.items())
    }
    found: dict[str, Floats] = {}
    for judge, judged_PT in sorted(rewards.items()):
        others = [name for name in expected if name != judge]
        means_T = np.sum([teacher_means(rewards[name]) / spread(rewards[name]) for name in others], axis=0)
        agreed_PT = agreed_advantage([expected[name] for name in others], int(np.argmax(means_T)))
        single_P = best_admitted(np.broadcast_to(means_T, agreed_PT.shape), matrix)
        gain_P = chosen(judged_PT, best_admitted(agreed_PT, matrix)) - chosen(judged_PT, single_P)
        found[judge] = gain_P / spread(judged_PT)
    return found
