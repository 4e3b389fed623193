"""The Debian package that every node runs, on an image or beside what a machine already has.

`target` says for which machine, `wheels` fetches what the project depends on, `tree` lays the files out, `control`
tells dpkg about them, `build` packs; `role` chooses on the machine what it is to be. The scripts that dpkg runs there
are in `debian/`. Building needs `uv` and `dpkg-deb` and nothing of the target: no emulator, no chroot, no root. Until
there is something to build only the standard library is imported, so that `install.sh` can ask whether there is.
"""
