"""Small tasks with exact fronts, on which every agent must work with no settings but the number of steps."""
