"""The two systems of a node: which one starts, how the other one is replaced, and what happens when it is no good.

An image has two slots, A and B. Each is a read-only root (squashfs, its own partition) with the kernel that belongs to
it. One of them runs; an update is written over the other one, which then has a few attempts to prove itself. This
package decides on what lies on the boot partition, and nothing else decides on it: not `bless-boot`, not RAUC's own
boot loader code (`bootloader=custom` calls us).

What an image must have, so that all this works (`provisioning.image` puts it there, by `firmware_files` and
`rendered_boot_files`):

**In the root**

- `/usr/lib/mycoswarm/slots.toml`: the layout (`layout.py`), what `Layout` says.
- `/usr/lib/mycoswarm/boot-files/`: everything that starts this root, as it is to lie in `/slot-x` of the ESP or on the
  Raspberry Pi's FAT partition boot-x: `vmlinuz`, `initrd.img`; for the Pi also `config.txt`, device trees, `overlays/`
  and firmware, with the names that its firmware and config.txt look for. No symbolic links.
- `/usr/lib/mycoswarm/boot-files/cmdline.in`: the kernel command line, one line, with `{root}` and `{slot}` for what
  differs between the slots. It must say `root=PARTUUID={root} ro rootwait=30 panic=10 rauc.slot={slot}`: a
  plain `rootwait` would let a kernel without its initramfs wait for ever, and never fall back. It is not copied
  itself: it becomes the entry's `options`, or the Pi's `cmdline.txt`.
- `/etc/os-release` (or `/usr/lib/os-release`) with `IMAGE_VERSION="VERSION"`; see `version.py`: `0.1.0+20251121200000`,
  the package's version and when it was built (UTC).
- `/etc/rauc/system.conf`: `system_conf(layout)`; `/etc/rauc/keyring.pem`: who may sign updates.
- `/usr/lib/mycoswarm/boot-slots`: runs `python -m provisioning.slots "$@"` with the package's Python.
- `systemd-bless-boot.service` masked: it would call every boot good.
- Debian's rauc and rauc-service.

**On the first FAT partition** (label MYCOBOOT, mounted on /boot/mycoswarm; read-only is fine: it is made writable
while something is written)

- x86_64, the ESP: `loader/entries/slot-a.conf` (no counter in its name: good), `slot-a/` (boot-files), and
  `loader/loader.conf` without any `default`. After an update slot B has `loader/entries/slot-b+3.conf`, `slot-b/`.
- Raspberry Pi: `autoboot.txt`, `slots.json`; boot-a has the boot-files and `cmdline.txt`, boot-b is an empty FAT.

The fresh image's slot A is good from the start: there is nothing to go back to.

**On /data**: `/data/update/` (root, 0755; made by us): `last.json`, the last update and how it ended;
`/data/rauc/`: RAUC's own notes.
"""
