"""`python -m provisioning.package` is `mycoswarm package`, and needs no more than click and uv: for `install.sh`."""

from provisioning.package.cli import package

if __name__ == "__main__":
    package(prog_name="mycoswarm package")
