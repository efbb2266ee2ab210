"""What the metrics of GMORL mean, for TensorBoard."""

from collections.abc import Mapping

METRIC_DESCRIPTIONS: Mapping[str, str] = {
    "critic_loss": "Squared error of both critics on the latest batch, summed over objectives.",
    "actor_loss": "Temperature times negative entropy, less the expected utility w.Q of the lower critic.",
    "entropy": "Mean entropy of the policy on the latest batch, in nats.",
    "replay_size": "Transitions in the replay buffer.",
}
"""Name of a metric -> a sentence."""
