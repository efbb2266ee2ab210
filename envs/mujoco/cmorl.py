"""C-MORL's MuJoCo tasks: what mo-gymnasium's v4 environments show and pay, on the v5 classes with their options.

C-MORL's published logs (arXiv 2410.02236) were made on `mo-*-v4` ids with 500 steps an episode. Gymnasium's v4 classes
are frozen and warn that they are out of date; the v5 classes step the same models. Two things differ, and both are
undone here: v5 adds contact forces to ant and humanoid (options, in `morl.envs.mujoco.entries`), and v5 pays
the bonus for standing only while the robot stands, v4 also on the step on which it falls (`BonusOnFall`).
"""

from mo_gymnasium.envs.mujoco.ant_v5 import MOAntEnv
from mo_gymnasium.envs.mujoco.hopper_v5 import MOHopperEnv
from mo_gymnasium.envs.mujoco.humanoid_v5 import MOHumanoidEnv


class BonusOnFall:
    """The bonus for standing as v4 pays it: on every step of an episode that ends with a fall."""

    is_healthy: bool
    _terminate_when_unhealthy: bool
    _healthy_reward: float

    @property
    def bonus_on_fall(self) -> bool:
        """Return whether the step of the fall earns the bonus: wherever a fall ends the episode."""
        return self._terminate_when_unhealthy

    @property
    def healthy_reward(self) -> float:
        """Return the bonus for the current state."""
        return float(self.is_healthy or self.bonus_on_fall) * self._healthy_reward


class Hopper(BonusOnFall, MOHopperEnv):
    """Hopper: speed, 10 times the height gained, and (cost_objective) the negative energy."""


class Ant(BonusOnFall, MOAntEnv):
    """Ant: speed along x and y, and (cost_objective) the negative energy."""


class Humanoid(BonusOnFall, MOHumanoidEnv):
    """Humanoid: speed and the negative energy."""
