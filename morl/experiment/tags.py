"""TensorBoard's tags: the metrics of a run in six groups, each with a description that TensorBoard shows.

| group | metrics |
|---|---|
| `rollout` | episodes of training, as they end |
| `losses` | the agent's learning metrics |
| `time` | counts of steps, updates and seconds |
| `front` | indicators and pictures of the front |
| `evaluation` | utility of policies for the preferences that they are conditioned on |
| `custom` | values logged by the user's `on_step` |

Names in metrics.jsonl have no group, apart from those of episodes; `tag_of` adds it.
"""

from collections.abc import Mapping
from typing import NamedTuple

DESCRIPTIONS: Mapping[str, str] = {
    "rollout/episodes": "Episodes of training that ended since the last line of the log.",
    "rollout/length": "Mean length in steps of the training episodes that ended since the last line of the log.",
    "rollout/return/*": "Mean undiscounted return of the training episodes that ended since the last line of the log,"
    " exploration included, in the environment's own units.",
    "rollout/novelty": "Mean novelty of the training episodes that ended since the last line of the log: the mean"
    " distance of their actions from those of the nearest reference.",
    "rollout/novelty_violated": "Share of the training episodes that ended since the last line of the log with a"
    " violation of the bound on their novelty.",
    "rollout/pretraining/novelty": "The same of episodes of pre-training.",
    "rollout/pretraining/novelty_violated": "The same of episodes of pre-training.",
    "rollout/pretraining/episodes": "Episodes of pre-training that ended since the last line of the log."
    " The horizontal axis counts steps of pre-training.",
    "rollout/pretraining/length": "Mean length in steps of the pre-training episodes that ended since the last line of"
    " the log. The horizontal axis counts steps of pre-training.",
    "rollout/pretraining/return/*": "Mean undiscounted return of the pre-training episodes that ended since the last"
    " line of the log, in the environment's own units. The horizontal axis counts steps of pre-training.",
    "time/pretraining_steps": "Environment steps before training proper.",
    "time/evaluation_steps": "Environment steps of all evaluations so far.",
    "time/updates": "Gradient updates so far.",
    "time/wall_seconds": "Seconds of wall-clock time so far, evaluations included.",
    "time/steps_per_second": "Steps of training by seconds of wall-clock time, evaluations included.",
    "front/hypervolume": "Volume between the front and the reference point, larger is better.",
    "front/expected_utility": "Mean over the evaluation grid of preferences of the highest weighted return on the"
    " front, larger is better.",
    "front/normalized_expected_utility": "The expected utility of returns in units of each objective's scale.",
    "front/sparsity": "Mean squared gap between neighbouring points of the front, smaller is denser.",
    "front/cardinality": "Number of points of the front.",
    "front/igd_plus": "Mean distance from the known front to this one (IGD+), 0 is the best.",
    "front/maximum_utility_loss": "Largest loss of utility over the evaluation grid against the known front,"
    " 0 is the best.",
    "front/selection/*": "The same indicator of the evaluation that selected the front. It is optimistic if"
    " episodes are random; the reported indicators come from other episodes.",
    "front/figure": "The front, drawn over the known front (grey) and over earlier fronts of the run.",
    "front/mesh": "The front (blue) and the known front (grey), scaled to the unit cube.",
    "evaluation/conditioned_utility": "Mean utility of the policies for the preference that they are conditioned on,"
    " larger is better.",
    "evaluation/utility_regret": "Mean difference between the known front's best utility for a preference and that"
    " of the policy conditioned on it, 0 is the best.",
    "custom/*": "Logged by the user's own `on_step`.",
}
"""Tag, or the beginning of tags before a star -> what it means."""

PRETRAINING = "rollout/pretraining/"
"""How the names of numbers begin that belong to pre-training."""
TIME = frozenset({"wall_seconds", "steps_per_second", "pretraining_steps", "evaluation_steps", "updates"})
EVALUATION = frozenset({"conditioned_utility", "utility_regret"})


def tag_of(name: str) -> str:
    """Return the TensorBoard tag of a metric.

    Args:
        name: its name in metrics.jsonl.
    """
    if name.startswith(("rollout/", "front/", "custom/")):
        return name
    if name.startswith("selection/"):
        return f"front/{name}"
    if name in TIME:
        return f"time/{name}"
    return f"evaluation/{name}" if name in EVALUATION else f"losses/{name}"


def description_of(tag: str, own: Mapping[str, str]) -> str:
    """Return what a tag means; empty where nobody says.

    Args:
        tag: the tag.
        own: the agent's descriptions of its metrics; a name that ends in a star is the beginning of several.
    """
    described = {**DESCRIPTIONS, **{f"losses/{name}": text for name, text in own.items()}}
    if tag in described:
        return described[tag]
    families = (text for name, text in described.items() if name.endswith("*") and tag.startswith(name[:-1]))
    return next(families, "")


class Tagged(NamedTuple):
    """Numbers under the tags that TensorBoard, W&B and MLflow show them with."""

    step: int
    """Of the horizontal axis: environment steps of training, or of pre-training."""
    values: dict[str, float]


def tagged(step: int, values: Mapping[str, float]) -> Tagged:
    """Return numbers under their tags, with their place on the horizontal axis.

    Those of pre-training have tags and an axis of their own: at training step 0 all of them would lie above each other.

    Args:
        step: environment steps of training.
        values: name as in metrics.jsonl -> number.
    """
    pretraining = {name: value for name, value in values.items() if name.startswith(PRETRAINING)}
    if pretraining:
        return Tagged(int(values.get("pretraining_steps", 0)), pretraining)
    return Tagged(step, {tag_of(name): value for name, value in values.items()})


def indicator_tags(indicators: Mapping[str, float | None]) -> dict[str, float]:
    """Return the indicators of a front that have a value, as `front/<name>`."""
    return {f"front/{name}": float(value) for name, value in indicators.items() if value is not None}
