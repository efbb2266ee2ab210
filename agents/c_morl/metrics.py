"""What the metrics of C-MORL mean, for TensorBoard."""

from collections.abc import Mapping

METRIC_DESCRIPTIONS: Mapping[str, str] = {
    "round": "0 in Pareto initialization, then the round of Pareto extension.",
    "archive_size": "Policies in the archive.",
    "archive/best_*": "Largest archived return of the objective, in the agent's units.",
    "slack": "Smallest slack of all thresholds of extension in the latest update; negative: one is violated.",
    "multiplier": "Largest Lagrange multiplier of a threshold of extension.",
    "bound_slack": "Smallest slack of the user's bounds when the policies that learn were measured last, as a share of"
    " the bound (or of the return's standard deviation, where that is less), at most 1; negative: it is violated.",
    "bound_multiplier": "Largest Lagrange multiplier of the user's bounds.",
    "clipped_share": "Share of the latest minibatch whose probability ratio was clipped.",
    "divergence": "CPO: mean divergence between the policies before and after the step.",
    "accepted": "CPO: share of steps that the line search accepted.",
    "recovering": "CPO: share of policies whose step had to restore a constraint.",
}
"""Name of a metric, or the beginning of names before a star -> a sentence."""
