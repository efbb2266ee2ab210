"""What the metrics of PD-MORL mean, for TensorBoard."""

from collections.abc import Mapping

METRIC_DESCRIPTIONS: Mapping[str, str] = {
    "loss": "Huber loss of the critics on the latest batch.",
    "q_magnitude": "Mean length of Q(s, a, w) in the latest batch; it grows without bound when learning diverges.",
    "angle_degrees": "Mean angle in degrees between the direction I(w) and Q(s, a, w) in the latest batch.",
    "non_positive_cosines": "Share of the latest batch with an angle of 90 degrees or more.",
    "exploration_rate": "Probability of a random action.",
    "replay_size": "Transitions in the replay buffer.",
    "key_utility_*": "Latest utility of a key preference above the origin (the reference point, or zero).",
}
"""Name of a metric, or the beginning of names before a star -> a sentence."""
