# up N: N profiles, each raised; ten at a time. down N: all of them taken down.
set -eu
case $1 in
profiles)
    for n in $(seq 1 "$2"); do
        printf 'server = "203.0.113.1"\ntunnel = "pptp"\nuser = "ann"\npassword-file = "corp.password"\ntraffic = "split"\naddresses = ["ipv4"]\n' \
            >/etc/adit/profiles/c$n.toml
    done
    ;;
up | down)
    seq 1 "$2" | xargs -P 10 -I{} sh -c "ctl $1 c{} >/tmp/$1-{}.log 2>&1 || { cat /tmp/$1-{}.log; exit 255; }"
    ;;
esac
