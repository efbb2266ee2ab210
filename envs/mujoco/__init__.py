"""MuJoCo environments: mo-gymnasium's in batch form, and the tasks of C-MORL, PG-MORL and PD-MORL."""
