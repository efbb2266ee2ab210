"""Vector backends: batch kernels, single environments one after the other, worker processes."""
