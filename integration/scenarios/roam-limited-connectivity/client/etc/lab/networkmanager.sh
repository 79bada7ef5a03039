# Without udev no link is ever known well enough for NetworkManager, unless /sys says that nobody could.
set -eu
mount -o remount,bind,ro /sys
mkdir -p /run/NetworkManager
exec NetworkManager --no-daemon
