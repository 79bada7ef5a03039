# A desktop as far as GNOME Settings needs one: a display, a session bus, a window manager. Somebody sits there (person.py).
set -eu
export HOME=/root XDG_RUNTIME_DIR=/run/user/0 XDG_CURRENT_DESKTOP=GNOME GSK_RENDERER=cairo GDK_BACKEND=x11 GTK_A11Y=atspi GDK_DEBUG=no-portals
mkdir -p -m 700 /run/user/0
# It says when it is there, and which it is.
mkfifo /run/lab.display
Xvfb -displayfd 3 -screen 0 1100x800x24 -nolisten tcp 3>/run/lab.display &
display=$!
read -r number </run/lab.display
rm /run/lab.display
export DISPLAY=:$number
code=0
dbus-run-session -- sh -ec 'openbox & gnome-control-center network & exec python3 /etc/lab/person.py "$@"' sh "$@" || code=$?
# All that is on it ends with it.
kill $display
wait $display || true
exit $code
