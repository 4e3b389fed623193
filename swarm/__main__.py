"""`python -m swarm` is `mycoswarm`."""

from swarm.cli import main

if __name__ == "__main__":
    main(prog_name="mycoswarm")
