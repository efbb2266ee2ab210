"""Torch parts with a leading policy axis: networks, optimiser, replay, observations."""
