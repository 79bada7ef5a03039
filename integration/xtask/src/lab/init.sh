#!/bin/sh
# Second program of the lab's VM, the first of user-mode-linux (which is told where the machine's folders are): the kernel's file systems, the share of the machine that runs us, then its guest.sh.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /tmp
mkdir -p /dev/pts /dev/shm /run/lock
mount -t devpts devpts /dev/pts
ln -s /proc/self/fd /dev/fd
ln -s fd/0 /dev/stdin
ln -s fd/1 /dev/stdout
ln -s fd/2 /dev/stderr
mount -t tmpfs tmpfs /dev/shm
mount --make-rprivate /
ip link set lo up
if [ -n "$lab_modules" ]; then
    mount -t hostfs -o hostfs="$lab_modules" modules /usr/lib/modules
    mount -t hostfs -o hostfs="$lab_host" host /host
else
    modprobe -a 9pnet_virtio 9p
    mount -t 9p -o trans=virtio,version=9p2000.L,msize=524288,cache=none host /host
fi
if [ -f /host/guest.sh ]; then
    sh /host/guest.sh
else
    echo "lab: no share" > /dev/ttyS1
fi
sync
echo o > /proc/sysrq-trigger
sleep 60
