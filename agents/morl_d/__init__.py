"""The parts of MORL/D (`morl.agents.morl_d.agent`): one trait of the taxonomy in each file."""
