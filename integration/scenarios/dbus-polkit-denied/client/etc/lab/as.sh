# as.sh USER METHOD-OR-COMMAND…: a call of that user's on the system bus, or a command of theirs.
set -eu
user=$1
shift
# In the session of that user, where there is one.
scope=/sys/fs/cgroup/user.slice/user-$(id -u "$user").slice/session-c$(id -u "$user").scope
[ ! -d "$scope" ] || echo $$ > "$scope/cgroup.procs"
run() { setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups -- "$@"; }
case $1 in
call)
    shift
    object=$1 method=$2
    shift 2
    run dbus-send --system --print-reply --dest=org.adit1 "/org/adit1$object" "$method" "$@"
    ;;
*) run "$@" ;;
esac
