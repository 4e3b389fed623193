"""Rules that people set: when this happens, and only if that is so, do this. Triggers, conditions, actions, no more."""
