"""What a run shows: `Run.record` writes videos of its policies, `Run.watch` opens a window."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from morl.acting import Policy
from morl.envs.core.registry import EnvBuilder
from morl.experiment.front import Front
from morl.experiment.messages import spoken
from morl.experiment.settings import WholeNumber, whole
from morl.run_folder import VIDEOS, FrontRecord, PolicyReference

if TYPE_CHECKING:
    from morl.experiment.rendering import EpisodePlayer
    from morl.experiment.videos import Recorded, RecordOptions, Subject

MOST_RECORDED = 200
"""Policies that one call records."""


class Chosen(NamedTuple):
    """Which policies are recorded: exactly one of the first three."""

    preference: Sequence[float] | None = None
    row: int | None = None
    policies: int | None = None
    """This many, spread evenly over the front."""
    conditioned: bool = False
    """Condition the network on the preference itself."""


class Watchable:
    """A run whose policies can be watched and recorded; `Run` provides the front and the policies."""

    directory: Path
    front: Front
    policy: Callable[..., Policy]
    best_row: Callable[..., int]
    _record: FrontRecord

    @property
    def _files(self) -> dict[int, PolicyReference]:
        """Return the policy files of the front by policy id."""
        raise NotImplementedError

    def _trusted_env(self) -> EnvBuilder:
        """Return the environment to build."""
        raise NotImplementedError

    def record(
        self,
        file: str | Path | None = None,
        *,
        preference: Sequence[float] | None = None,
        row: int | None = None,
        policies: int | None = None,
        conditioned: bool = False,
        episodes: int = 1,
        seed: int = 0,
        steps_per_second: float | None = None,
    ) -> "Recorded":
        """Record videos of policies: one for a preference or a row, or several that are spread over the front.

        Episode j of a video is the one of `evaluate(episodes=1, seed=seed + j)`, with the same returns.

        Args:
            file: ends in .mp4 or .gif; default: a file in the run's folder `videos/`, where the board finds it.
            preference: [objective] weights >= 0, as for `policy`.
            row: of `front.points`.
            policies: this many policies, spread evenly over the front, into `videos/`, with a contact sheet.
            conditioned: condition the network on the preference itself, as for `policy`.
            episodes: of each policy, one after the other in its video.
            seed: of the first episode.
            steps_per_second: how many steps pass in a second of the video; default: as the environment says.

        Raises:
            ValueError: as for `policy`, the environment draws no pictures or is code that is not trusted, or what
                writes the video is not installed.
            OSError: a file cannot be written.
        """
        from morl.experiment.videos import RecordOptions

        options = RecordOptions(episodes, seed, steps_per_second)
        chosen = Chosen(preference, row, policies, conditioned)
        return self.record_chosen(chosen, None if file is None else Path(file), options)

    def record_chosen(self, chosen: "Chosen", file: Path | None, options: "RecordOptions") -> "Recorded":
        """Record policies; `record` explains it.

        Args:
            chosen: which policies.
            file: None for the run's folder `videos/`.
            options: how.
        """
        from morl.experiment import video_files, videos

        subjects = self._subjects(chosen, file)
        if file is not None:
            video_files.check_video_file(file)
        with self._player() as player:
            if file is not None:
                return videos.record_file(subjects[0], player, file, options)
            return videos.record_all(subjects, player, self.directory / VIDEOS, options)

    def watch(
        self,
        preference: Sequence[float] | None = None,
        *,
        row: int | None = None,
        conditioned: bool = False,
        seed: WholeNumber = 0,
    ) -> None:
        """Open a window in which a policy acts; keys move the preference, or step along the front, while it runs.

        Args:
            preference: [objective] weights >= 0; default: all objectives alike, where no row is given either.
            row: of `front.points`.
            conditioned: condition the network on the preference itself.
            seed: of the first episode, that of `evaluate(episodes=1, seed=seed)` as long as no key is pressed.

        Raises:
            ValueError: as for `policy`, there is no display, or the environment draws no pictures.
        """
        from morl.experiment import watching

        if preference is None and row is None:
            count = len(self.front.objectives)
            preference = [1.0 / count] * count
        first_seed = whole("seed", seed, 0)
        steering = watching.Steering(self, preference, row, conditioned)
        with self._player() as player, watching.open_window() as window:
            watching.watch(player, steering, window, first_seed)

    def _player(self) -> "EpisodePlayer":
        from morl.experiment.rendering import EpisodePlayer

        return EpisodePlayer(self._trusted_env(), self._record.env_options, self.front.discount)

    def _subjects(self, chosen: "Chosen", file: Path | None) -> "list[Subject]":
        """Return the policies to record.

        Raises:
            ValueError: the choice contradicts itself, or there is no such policy.
        """
        from morl.experiment.videos import Subject, spread_rows

        preference, row, policies, conditioned = chosen
        flag = spoken("--all", "policies")
        if (preference is not None) + (row is not None) + (policies is not None) != 1:
            names = (spoken("--preference", "preference"), spoken("--row", "row"), flag)
            raise ValueError(f"exactly one of {', '.join(names)} must be given: it says which policies are recorded")
        if policies is not None and (conditioned or file is not None):
            other = spoken("--conditioned", "conditioned") if conditioned else spoken("--video", "file")
            raise ValueError(f"{flag} records policies of the front into {VIDEOS}/: {other} cannot be given with it")
        if policies is not None:
            count = whole(flag, policies, 1)
            if count > MOST_RECORDED:
                raise ValueError(f"{flag} is {count}, but must be at most {MOST_RECORDED}")
            rows: list[int] = spread_rows(self.front.points, count)
        elif conditioned:
            policy = self.policy(preference, row=row, conditioned=True)
            return [Subject(policy, None, self._files[policy.policy_id].sha256)]
        else:
            assert row is not None or preference is not None
            rows = [row if row is not None else self.best_row(preference)]
        made = [(number, self.policy(row=number)) for number in rows]
        return [Subject(policy, number, self._files[policy.policy_id].sha256) for number, policy in made]
