"""Torch parts with a leading policy axis: networks, optimizer, replay, observations."""
