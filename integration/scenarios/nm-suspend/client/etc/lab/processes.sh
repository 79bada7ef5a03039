# The process numbers of NetworkManager's connections of ours on this host's bus.
for name in $(busctl --no-pager --list | grep -o 'org.freedesktop.NetworkManager.adit.Connection_[0-9]*' | sort -u); do
    busctl --no-pager call org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus \
        GetConnectionUnixProcessID s "$name" | cut -d' ' -f2
done
