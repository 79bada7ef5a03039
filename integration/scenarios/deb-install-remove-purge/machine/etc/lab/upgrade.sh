# Upgrades, and shows where the time goes: what dpkg has written down of each of its states, with the second. Where it is not over in time, it
# has failed: also what runs and for what it waits, what systemd has still to do, and what has been said.
dpkg -i /etc/lab/aditd.deb &
dpkg=$!
over() { timeout "$1" tail --pid=$dpkg -f /dev/null; }
if ! over 100; then
    ps axwwo pid,ppid,stat,etimes,time,wchan:24,args
    systemctl list-jobs --no-pager
    systemctl status --no-pager -l aditd.service adit-names.socket
    journalctl --no-pager -b -o short-monotonic -n 60
    cat /proc/loadavg
    kill $dpkg
fi
wait $dpkg
code=$?
grep -E ' (upgrade|status|configure|trigproc) ' /var/log/dpkg.log | tail -n 12
exit $code
