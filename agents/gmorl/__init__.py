"""GMORL: a generalizable multi-objective agent for edge offloading, for any environment with discrete actions."""
