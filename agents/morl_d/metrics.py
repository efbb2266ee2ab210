"""What the metrics of MORL/D mean, for TensorBoard."""

from collections.abc import Mapping

METRIC_DESCRIPTIONS: Mapping[str, str] = {
    "archive_size": "Policies in the archive.",
    "exchanges": "Exchanges so far: evaluations of the population, after which neighbours cooperate.",
    "critic_loss": "Loss of the critics in the latest update, mean over the policies that train.",
    "actor_loss": "Loss of the actors in the latest update, mean over the policies that train.",
    "entropy": "Entropy of the actors in the latest update, mean over the policies that train.",
    "clipped_share": "Share of the latest minibatch whose probability ratio was clipped.",
}
"""Name of a metric -> a sentence."""
