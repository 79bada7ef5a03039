# Twenty hosts with an aditd each, in network namespaces on one bridge with this host's wan.
set -eu
all=$(seq 1 20)
at() { nsenter --net=/run/netns/c"$1" -- sh -c "$2"; }
each() { # every client at once; all must end in 0
    for n in $all; do
        { "$1" "$n" >/tmp/"$1-$n".log 2>&1 || echo "$n" >>/tmp/"$1"-failed; } &
        pids="${pids-} $!"
    done
    # Not for all of the shell's children: an aditd stays.
    wait $pids
    [ ! -s /tmp/"$1"-failed ] || {
        while read -r n; do sed "s/^/c$n: /" /tmp/"$1-$n".log; done </tmp/"$1"-failed
        exit 1
    }
}
network() {
    echo "link add br0 type bridge forward_delay 0 mcast_snooping 0"
    echo "link set wan master br0"
    echo "link set br0 up"
    for n in $all; do
        echo "netns add c$n"
        echo "link add v$n type veth peer name wan netns c$n"
        echo "link set v$n master br0 up"
    done
}
own_network() {
    echo "link set lo up"
    # No address of its own making: the kernel would still be checking it when the host is first recorded.
    echo "link set wan addrgenmode none"
    echo "addr add 203.0.113.$((100 + $1))/24 dev wan"
    echo "link set wan up"
}
host() { at "$1" "ip -d -o link; ip -o addr; ip route show table all; ip -6 route show table all; ip rule; ip -6 rule
    ip xfrm state; ip xfrm policy list nosock; nft list ruleset; cat /proc/sys/net/ipv4/conf/*/rp_filter"; }
start() {
    etc=/etc/adit/c$1
    mkdir -p "$etc"/profiles "$etc"/secrets
    printf 'server = "203.0.113.1"\nauth = "psk"\nlocal-id = "c%s@example.com"\nremote-id = "vpn.example.com"\npsk-file = "corp.psk"\ntunnel = "split"\n' \
        "$1" >"$etc"/profiles/corp.toml
    echo 'correct horse battery staple' >"$etc"/secrets/corp.psk
    chown -R root:adit "$etc"
    chmod -R u=rwX,g=rX,o= "$etc"
    host "$1" >/tmp/was-"$1"
    mkfifo /tmp/said-"$1"
    nsenter --net=/run/netns/c"$1" -- aditd --config "$etc" --state /var/lib/adit-"$1" --socket /run/adit-"$1"/sock \
        --bus none </dev/null >/tmp/said-"$1" 2>&1 &
    exec 3</tmp/said-"$1"
    # Until it is ready, or over; what it says later goes the same way.
    while read -r line <&3; do
        printf '%s\n' "$line"
        case $line in *' ready '*) break ;; esac
    done >/tmp/aditd-"$1".log
    cat <&3 >>/tmp/aditd-"$1".log &
    exec 3<&-
}
ctl_of() { at "$1" "ADIT_SOCKET=/run/adit-$1/sock ctl $2"; }
up() { ctl_of "$1" "up corp"; }
down() { ctl_of "$1" "down corp"; }
ping_inside() { at "$1" "ping -n -q -c 5 -i 0.2 -W 5 -s 56 -p $(printf %s "$LAB_MARKER" | od -An -tx1 | tr -d ' \n') 10.1.0.10"; }
nothing_left() {
    for _ in 1 2 3 4; do
        host "$1" >/tmp/is-"$1"
        cmp -s /tmp/was-"$1" /tmp/is-"$1" && return
        sleep 1
    done
    diff /tmp/was-"$1" /tmp/is-"$1"
}
case $1 in
network)
    network | ip -batch -
    for n in $all; do own_network "$n" | ip -n "c$n" -batch -; done
    ;;
*) each "$1" ;;
esac
