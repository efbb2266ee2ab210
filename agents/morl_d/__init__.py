"""MORL/D (`morl.agents.morl_d.agent`): the loop, and one file for each group of traits of its taxonomy."""
