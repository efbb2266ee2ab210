"""MOGFN-PC: generative flow networks that sample in proportion to a reward, for every preference (Jain et al.)."""
