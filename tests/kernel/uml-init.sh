#!/bin/sh
# The first process of the User-mode Linux that uml.sh starts. Its root is this machine's own, read-only; over it
# goes a layer in memory. It runs the file `command` of the folder $out and leaves its exit code there in `status`.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
modules=/usr/lib/uml/modules/$(uname -r)

mount -t tmpfs layer /run
mkdir -p /run/upper /run/work /run/root
insmod "$modules/kernel/fs/overlayfs/overlay.ko"
mount -t overlay overlay -o lowerdir=/,upperdir=/run/upper,workdir=/run/work /run/root || halt -f -p
cd /run/root || halt -f -p
mkdir -p lower usr/lib/modules
ln -sfn "$modules" usr/lib/modules/
# Not only for this process: the kernel looks for modprobe and its modules below the new root too.
pivot_root . lower
cd /

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs run /run
mount -t tmpfs dev /dev
mkdir -p /run/netns /run/lock /dev/pts /dev/shm /dev/net
mknod -m 666 /dev/null c 1 3
mknod -m 666 /dev/zero c 1 5
mknod -m 666 /dev/full c 1 7
mknod -m 666 /dev/random c 1 8
mknod -m 666 /dev/urandom c 1 9
mknod -m 666 /dev/tty c 5 0
mknod -m 666 /dev/net/tun c 10 200
mount -t devpts pts /dev/pts
mount -t tmpfs shm /dev/shm
ln -s pts/ptmx /dev/ptmx
ln -s /proc/self/fd /dev/fd

mkdir /run/out
mount -t hostfs out /run/out -o "$out"
hostname localhost
ip link set lo up
# Debian's and Ubuntu's kernels have it built in. Loaded in the middle of a trial, it would speak up on every link.
modprobe ipv6

timeout "$seconds" sh /run/out/command >>/run/out/output 2>&1
echo $? >/run/out/status
halt -f -p
