"""Entry point for people and satellites: pipeline, agent, home automation, the people's port."""
