# Opens the applet's menu and, in it, that of VPN connections: menu.sh open. Chooses the first of these: menu.sh choose.
set -eu
export DISPLAY=:9
# Where the menus are on the screen, X, Y, width and height, the one on the left first.
menus() {
    xdotool search --onlyvisible --class nm-applet getwindowgeometry %@ 2>/dev/null |
        sed -n 's/.*Position: \([0-9]*\),\([0-9]*\) .*/\1 \2/p; s/.*Geometry: \([0-9]*\)x\([0-9]*\)$/\1 \2/p' |
        paste -d ' ' - - | awk '$3 >= 100' | sort -n
}
# Points at what is below the icon until so many menus are there: pointing opens a menu, and does nothing else.
pointing_until() {
    n=0
    while [ "$(menus | wc -l)" -lt "$1" ]; do
        n=$((n + 1))
        [ $n -lt 300 ] || exit 1
        xdotool mousemove "$2" $((65 + n % 3))
        sleep 0.2
    done
}
case $1 in
open)
    xdotool mousemove 428 12 click 1
    pointing_until 1 428
    pointing_until 2 300
    ;;
choose)
    menus | head -n 1 | (
        read -r x y _
        xdotool mousemove $((x + 40)) $((y + 16)) click 1
    )
    ;;
esac
