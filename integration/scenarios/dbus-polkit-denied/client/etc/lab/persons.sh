# persons.sh NAME:UID:ACTIVE…: people, and what logind would write down of the sessions that they have at seat0.
set -eu
mountpoint -q /sys/fs/cgroup || mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /run/systemd/users /run/systemd/sessions /run/systemd/seats /run/systemd/machines
for person; do
    name=${person%%:*} rest=${person#*:}
    uid=${rest%:*} active=${rest#*:}
    grep -q "^$name:" /etc/passwd || echo "$name:x:$uid:$uid::/tmp:/bin/sh" >> /etc/passwd
    grep -q "^$name:" /etc/group || echo "$name:x:$uid:" >> /etc/group
    mkdir -p /sys/fs/cgroup/user.slice/user-$uid.slice/session-c$uid.scope
    case $active in 1) state=active ;; *) state=online ;; esac
    printf 'NAME=%s\nSTATE=%s\nDISPLAY=c%s\nSESSIONS=c%s\nSEATS=seat0\n' $name $state $uid $uid > /run/systemd/users/$uid
    printf 'UID=%s\nUSER=%s\nACTIVE=%s\nSTATE=%s\nREMOTE=0\nCLASS=user\nTYPE=x11\nSEAT=seat0\n' \
        $uid $name $active $state > /run/systemd/sessions/c$uid
done
