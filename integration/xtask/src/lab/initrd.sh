#!/bin/busybox sh
# First program of the lab's VM: loads what the root's disk needs, and goes there.
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs dev /dev
if /bin/busybox grep -q lab.probe /proc/cmdline; then
    echo lab-probe-ok > /dev/ttyS1
    echo o > /proc/sysrq-trigger
    /bin/busybox sleep 10
fi
while read -r module; do
    /bin/busybox insmod "/modules/$module" || echo "lab: $module not loaded"
done < /order
/bin/busybox mount -t ext4 -o rw,noatime /dev/vda /root || { echo "lab: no root"; echo o > /proc/sysrq-trigger; }
if [ -b /dev/vdb ]; then
    /bin/busybox mount -t ext4 -o ro /dev/vdb /root/usr/lib/modules || echo "lab: no modules"
fi
/bin/busybox mount --move /dev /root/dev
/bin/busybox umount /proc /sys
exec /bin/busybox switch_root /root /sbin/lab-init
