# systemd with its own process numbers, for D-Bus and logind alone: it is what logind asks to suspend the machine.
set -eu
units=/etc/systemd/system
mkdir -p $units /sys/fs/cgroup
mountpoint -q /sys/fs/cgroup || mount -t cgroup2 cgroup2 /sys/fs/cgroup
for unit in dbus.socket dbus.service systemd-logind.service; do
    mkdir -p $units/$unit.d
    printf '[Unit]\nDefaultDependencies=no\n' >$units/$unit.d/lab.conf
done
printf '[Unit]\nDescription=Host\nDefaultDependencies=no\nWants=dbus.socket dbus.service systemd-logind.service\n' \
    >$units/lab.target
# The machine wakes up again by its clock.
mkdir -p $units/systemd-suspend.service.d
printf '[Service]\nExecStart=\nExecStart=/usr/sbin/rtcwake -m mem -s 15\n' >$units/systemd-suspend.service.d/lab.conf
exec unshare --pid --fork --mount --mount-proc --kill-child env -i PATH="$PATH" container=lab \
    /usr/lib/systemd/systemd --system --unit=lab.target --log-target=console --show-status=no
