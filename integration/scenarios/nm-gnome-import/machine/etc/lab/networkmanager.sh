# Starts NetworkManager, which is to have the machine's one link. Without udev nobody says of a link that it is ready: that is waited for only
# where /sys can be written.
set -eu
install -m 600 /etc/lab/wan.nmconnection /etc/NetworkManager/system-connections/
printf '[main]\nplugins=keyfile\nrc-manager=file\nno-auto-default=*\n' >/etc/NetworkManager/conf.d/zz-lab.conf
mount -o remount,bind,ro /sys
ip link set wan down
ip address flush dev wan
systemctl start NetworkManager
