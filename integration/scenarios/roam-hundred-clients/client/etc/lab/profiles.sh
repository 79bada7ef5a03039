# A hundred profiles, each for a client of its own and for one host inside.
set -eu
mkdir -p /etc/adit/profiles
for n in $(seq 101 200); do
    printf 'server = "203.0.113.1"\nauth = "psk"\nlocal-id = "c%s@example.com"\nremote-id = "vpn.example.com"\npsk-file = "corp.psk"\ntunnel = "split"\nremote-subnets = ["10.1.0.%s/32"]\n' \
        "$n" "$n" >/etc/adit/profiles/c"$n".toml
done
chown -R root:adit /etc/adit
chmod -R u=rwX,g=rX,o= /etc/adit
