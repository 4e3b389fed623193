"""What a node image does on the machine, by itself, at its first boot and while it has no network or no swarm.

`python -m provisioning.first_boot COMMAND`, each started by a unit in `systemd/`:

| command | as | what it does |
|---|---|---|
| `prepare` | root | grows the disk, reads the person's settings and applies them, makes ssh host keys |
| `enrol` | mycoswarm | joins the swarm by the token, or asks by a code until a person approves |
| `show` | root | what a person should know: on the console, by the LED |
| `wifi` | root | an access point with a page to enter the Wi-Fi, while there is no network |

What is to be done is decided from what is there (`plan`), never from what was begun: a power cut at any point costs
the step that it interrupted, and nothing else.
"""
