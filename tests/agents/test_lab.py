"""Every agent on every task of the lab, with no settings but the number of steps: it runs, or refuses in a sentence."""

import numpy as np
import pytest

import morl
from morl.agents import AGENTS
from morl.envs import specs

pytestmark = [
    pytest.mark.usefixtures("without_figures"),
    pytest.mark.filterwarnings("ignore:.*untrained policies:RuntimeWarning"),  # C-MORL needs more than 400 steps
]

LAB = [name for name in specs if name.startswith("lab/")]


@pytest.mark.parametrize("env_id", LAB)
@pytest.mark.parametrize("agent", AGENTS)
def test_agents_run_or_refuse(agent, env_id, tmp_path):
    run_dir, refusal = tmp_path / "run", ""
    try:
        run = morl.train(agent, env_id, total_steps=400, seed=0, run_dir=run_dir)
    except ValueError as error:
        refusal = str(error)
    if refusal:
        reasons = ("mask", "needs actions of kind", "parents is 'grid'")
        assert any(reason in refusal for reason in reasons), "the lab asks nothing else that not all agents can do"
        assert not run_dir.exists()
        return
    points, known = run.front.points, specs[env_id].known_front(specs[env_id].discount)
    assert len(points) > 0
    weights = np.random.default_rng(0).dirichlet(np.ones(known.shape[1]), size=100) / np.ptp(known, axis=0)
    if env_id not in ("lab/dam-v0", "lab/docking-v0", "lab/stochastic-grid-v0"):  # means of few random episodes
        slack = 0.05 if "quadratic" in env_id else 0.01
        assert ((weights @ points.T).max(axis=1) < (weights @ known.T).max(axis=1) + slack).all()
