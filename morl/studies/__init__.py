"""Many runs: grids of variants, environments and seeds, how they are executed, and what they say together."""
