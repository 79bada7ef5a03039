# A tray and nm-applet in it. The root's packages are unpacked only: what their scripts of installation would have made is made here.
set -eu
export DISPLAY=:9 GSETTINGS_BACKEND=memory
mkdir -p /tmp/schemas /tmp/data
/usr/lib/*/glib-2.0/glib-compile-schemas --targetdir=/tmp/schemas /usr/share/glib-2.0/schemas
/usr/lib/*/gdk-pixbuf-2.0/gdk-pixbuf-query-loaders >/tmp/loaders.cache
cp -R /usr/share/mime /tmp/data
update-mime-database /tmp/data/mime
export GSETTINGS_SCHEMA_DIR=/tmp/schemas GDK_PIXBUF_MODULE_FILE=/tmp/loaders.cache XDG_DATA_HOME=/tmp/data
# What the screen shows is a file: first nothing, then an empty tray, then the applet's icon in it.
cp /tmp/screen/Xvfb_screen0 /tmp/nothing
stalonetray --geometry 1x1+416+0 --icon-size 24 --window-type normal &
while cmp -s /tmp/screen/Xvfb_screen0 /tmp/nothing; do
    sleep 0.1
done
cp /tmp/screen/Xvfb_screen0 /tmp/tray
exec dbus-run-session -- nm-applet
