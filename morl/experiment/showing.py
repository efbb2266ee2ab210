"""`Run.record` and `Run.watch`: what a run's policies do, as videos and in a window."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from morl.experiment.videos import Recorded, RecordedRun


def record(
    run: "RecordedRun",
    file: str | Path | None = None,
    *,
    preference: Sequence[float] | None = None,
    row: int | None = None,
    policies: int | None = None,
    conditioned: bool = False,
    episodes: int = 1,
    seed: int = 0,
) -> "Recorded":
    """Record videos of policies: of one for a preference or a row, or of several spread over the front.

    Episode j of a video is that of `evaluate(episodes=1, seed=seed + j)`, with the same returns.

    Args:
        run: the run.
        file: ends in .mp4 or .gif; default: a file in the run's folder `videos/`, where the board finds it.
        preference: [objective] weights >= 0, as for `policy`.
        row: of `front.points`.
        policies: this many policies, spread evenly over the front, into `videos/`, with a contact sheet.
        conditioned: condition the network on the preference itself, as for `policy`.
        episodes: of each policy, one after the other in its video.
        seed: of the first episode.

    Raises:
        ValueError: as for `policy`, the environment cannot render or is code that is not trusted, or the package that
            writes the video is not installed.
        OSError: a file cannot be written.
    """
    from morl.experiment import videos

    chosen = videos.Chosen(preference, row, policies, conditioned)
    return videos.record(run, chosen, file, videos.RecordOptions(episodes, seed))


def watch(
    run: "RecordedRun",
    preference: Sequence[float] | None = None,
    *,
    row: int | None = None,
    conditioned: bool = False,
    seed: int = 0,
) -> None:
    """Open a window in which a policy acts; keys change the preference or the policy while it runs.

    Args:
        run: the run.
        preference: [objective] weights >= 0; default: equal weights, if no row is given either.
        row: of `front.points`.
        conditioned: condition the network on the preference itself.
        seed: of the first episode, that of `evaluate(episodes=1, seed=seed)` as long as no key is pressed.

    Raises:
        ValueError: as for `policy`, there is no display, or the environment cannot render.
    """
    from morl.experiment.videos import RecordOptions, player_of
    from morl.experiment.watching import Steering, open_and_watch

    options = RecordOptions(seed=seed)  # checks the seed
    if preference is None and row is None:
        preference = [1.0] * len(run.front.objectives)
    steering = Steering(run, preference, row, conditioned)
    with player_of(run) as player:
        open_and_watch(player, steering, options.seed)
