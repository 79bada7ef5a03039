# Asks the kernel to take back all memory of the machine that it can. It says that this was less than was asked for, which is no failure.
for group in /sys/fs/cgroup/system.slice /sys/fs/cgroup; do
    n=0
    while [ $n -lt 5 ]; do
        n=$((n + 1))
        echo 4G >$group/memory.reclaim
    done 2>/dev/null
done
cat /proc/swaps
systemctl show -P SubState aditd
# Whether the unit's group is another one by now: what the one of before was charged with stays so when it is gone.
echo "group $(stat -c %i /sys/fs/cgroup/system.slice/aditd.service), dying $(sed -n 's/^nr_dying_descendants //p' /sys/fs/cgroup/system.slice/cgroup.stat)"
