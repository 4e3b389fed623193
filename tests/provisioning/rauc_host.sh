#!/bin/sh
# A machine with two slots, without a machine: a root of its own over this one's, in which RAUC's service runs with our
# configuration and our handler, and writes to two loop devices. Arguments: folder, then a command that is run in it.
# The folder has: tree/ (laid over the root), a.img and b.img (the slots), cmdline, bundles (then in /mnt).
set -eu
if [ "${inside:-}" != yes ]; then exec env inside=yes unshare --mount --propagation private sh "$0" "$@"; fi
folder=$1
shift
root=$folder/root
mkdir -p "$root" "$folder/work"
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/tree,workdir=$folder/work" "$root"
mount -t proc proc "$root/proc"
mount --bind "$folder/cmdline" "$root/proc/cmdline"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/mnt" # a file system of its own: RAUC looks at the whole of the one that has the bundle
cp "$folder"/*.raucb "$root/mnt/"
mount -t tmpfs tmpfs "$root/dev"
mkdir -p "$root/dev/disk/by-partuuid" "$root/run/dbus"
for node in null zero random urandom loop-control; do cp -a "/dev/$node" "$root/dev/"; done
for node in /dev/loop[0-9]*; do cp -a "$node" "$root/dev/"; done
a=$(losetup --find --show "$folder/a.img")
b=$(losetup --find --show "$folder/b.img")
[ -e "$root$a" ] || cp -a "$a" "$root/dev/"
[ -e "$root$b" ] || cp -a "$b" "$root/dev/"
ln -s "$a" "$root/dev/disk/by-partuuid/6d79636f-0000-4000-8000-00000000000a"
ln -s "$b" "$root/dev/disk/by-partuuid/6d79636f-0000-4000-8000-00000000000b"
pids=
# shellcheck disable=SC2317 # called by trap
end() {
    for pid in $pids; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    losetup --detach "$a" "$b"
}
trap end EXIT
export DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/dbus/bus
chroot "$root" dbus-daemon --nofork --config-file=/etc/bus.conf &
pids=$!
until [ -S "$root/run/dbus/bus" ]; do sleep 0.05; done
chroot "$root" rauc --mount=/run/rauc service >"$folder/service.log" 2>&1 &
pids="$pids $!"
echo "$!" >"$root/mnt/service.pid"
until dbus-send --bus="unix:path=$root/run/dbus/bus" --print-reply --dest=org.freedesktop.DBus / \
    org.freedesktop.DBus.NameHasOwner string:de.pengutronix.rauc 2>/dev/null | grep -q true; do sleep 0.05; done
chroot "$root" "$@"
