"""PD-MORL: one network conditioned on the preference, for discrete and for continuous actions (docs/pd_morl.md)."""
