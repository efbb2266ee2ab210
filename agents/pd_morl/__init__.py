"""PD-MORL: one network conditioned on the preference, for discrete and continuous actions (docs/agents/pd_morl.md)."""
