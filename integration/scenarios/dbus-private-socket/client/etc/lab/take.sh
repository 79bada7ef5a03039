# Takes every place that its user has at the private socket: proves who it is, and stays.
set -eu
folder=$(mktemp -d)
hello() { printf '\0AUTH EXTERNAL %s\r\nBEGIN\r\n' "$(printf '%s' "$(id -u)" | od -An -tx1 | tr -d ' \n')"; }
hello > "$folder/hello"
pids=
trap 'kill $pids; exit 0' TERM
n=0
while [ $n -lt 64 ]; do
    socat -t 1000 "GOPEN:$folder/hello,ignoreeof!!CREATE:$folder/$n" UNIX-CONNECT:/run/adit/aditd.sock &
    pids="$pids $!"
    n=$((n + 1))
done
until [ "$(grep -l OK "$folder"/[0-9]* 2>/dev/null | wc -l)" = 64 ]; do :; done
echo taken
wait
