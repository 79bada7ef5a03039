# Every file of the machine's root file system, with its owner and mode; dpkg's and systemd's own books apart.
find / -xdev \( -path /var/lib/dpkg -o -path /var/log -o -path /var/cache -o -path /root \) -prune -o \
    \( -not -type d -printf '%p %u:%g %m\n' \) | grep -Ev '^/etc/(passwd|group|g?shadow|sub[ug]id)-? |^/var/lib/systemd/' | sort
