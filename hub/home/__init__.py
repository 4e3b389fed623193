"""Home automation over MQTT: what devices exist, how they are, and commands they confirm."""
