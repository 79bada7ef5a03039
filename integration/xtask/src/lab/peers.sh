# Makes the roots of peers that can't be installed beside the others: below /roots in the image, each with its own /usr,
# /etc and /var. A root is the packages and all that they depend on, unpacked; nothing of them is run.
# Arguments: the root's name, Debian's suite, the archive, the packages.
set -eu
name=$1 suite=$2 archive=$3
shift 3
root=/roots/$name
apt=/tmp/apt-$name
mkdir -p "$apt"/lists/partial "$apt"/cache/archives/partial
: >"$apt"/status
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $archive $suite main" >"$apt"/sources.list
own() {
    apt-get -q -oDir::Etc::SourceList="$apt"/sources.list -oDir::Etc::SourceParts=/dev/null -oDir::State="$apt" \
        -oDir::State::status="$apt"/status -oDir::Cache="$apt"/cache "$@"
}
own update
own install -y --download-only --no-install-recommends dash coreutils sed grep mawk sysvinit-utils findutils diffutils util-linux procps \
    iproute2 nftables iputils-ping "$@"
for part in bin sbin lib lib64; do
    mkdir -p "$root"/usr/"$part"
    ln -s usr/"$part" "$root"/"$part"
done
for deb in "$apt"/cache/archives/*.deb; do
    case ${deb##*/} in
    # What only scripts of installation need.
    perl* | libperl* | python3* | libpython3* | dpkg_* | tar_* | udev_* | passwd_* | debconf_* | adduser_* | install-info_*) ;;
    *) dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink -C "$root" ;;
    esac
done
ln -sf mawk "$root"/usr/bin/awk
# dpkg's scripts would have made these.
for file in passwd group nsswitch.conf host.conf gai.conf; do
    [ ! -e /etc/"$file" ] || cp /etc/"$file" "$root"/etc/"$file"
done
rm -rf "$apt" "$root"/usr/share/doc "$root"/usr/share/man "$root"/usr/share/locale "$root"/usr/lib/udev
