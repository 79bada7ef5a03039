//! Segments, hosts, routers and their NAT, made of bridges, namespaces, veth pairs, nftables and netem.
//!
//! Every interface of a host is one end of a veth pair; the other end, its port, is in a namespace of its own (the fabric),
//! plugged into its segment's bridge. So a capture is taken, a carrier lost and a delay added outside of the hosts.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::Write as _,
    os::fd::{AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use adit_lab::{
    needs,
    scenario::{self, NatKind, Scenario},
};

use nix::{
    sched::{CloneFlags, setns},
    sys::{
        socket::{
            AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, setsockopt,
            socket, sockopt,
        },
        time::{TimeVal, TimeValLike as _},
    },
};

use crate::host::Host;

/// What stands for one scenario; all of it goes when dropped.
pub(crate) struct Topology {
    /// Hosts by name.
    pub(crate) hosts: BTreeMap<String, Host>,
    /// Port in the fabric by `HOST:INTERFACE`.
    ports: BTreeMap<String, String>,
    fabric: String,
    folder: PathBuf,
}

impl Topology {
    /// Builds it in `work`, with names that start with `prefix`.
    pub(crate) fn build(
        scenario: &Scenario,
        stage: &Path,
        work: &Path,
        prefix: &str,
    ) -> Result<Self, String> {
        let folder = work.join(prefix);
        let hosts = scenario.host.keys().map(|name| {
            let own = folder.join(name);
            let host = Host {
                name: name.clone(),
                netns: format!("{prefix}-{name}"),
                mounts: own.join("mounts"),
                inside: format!("/mnt/{prefix}/{name}"),
                folder: own,
            };
            (name.clone(), host)
        });
        let mut topology = Self {
            hosts: hosts.collect(),
            ports: BTreeMap::new(),
            fabric: format!("{prefix}-fabric"),
            folder,
        };
        topology.links(scenario)?;
        for (name, host) in &topology.hosts {
            let Some(described) = scenario.host.get(name) else { continue };
            mounts(host, described.root.as_deref(), work)?;
            files(host, &scenario.folder.join(name), stage)?;
            network(host, described)?;
        }
        topology.settle()?;
        Ok(topology)
    }

    /// The host of this name.
    pub(crate) fn host(&self, name: &str) -> Result<&Host, String> {
        self.hosts.get(name).ok_or_else(|| format!("no host {name:?}"))
    }

    /// All ports, by `HOST:INTERFACE`.
    pub(crate) fn ports(&self) -> impl Iterator<Item = (&String, &String)> {
        self.ports.iter()
    }

    /// Gives `HOST:INTERFACE` its carrier, or takes it.
    pub(crate) fn carrier(&self, interface: &str, is_up: bool) -> Result<(), String> {
        let port = self.ports.get(interface).ok_or_else(|| format!("no interface {interface:?}"))?;
        batch(&self.fabric, &format!("link set {port} {}\n", if is_up { "up" } else { "down" }))
    }

    /// tcpdump on the wire of a port.
    pub(crate) fn tcpdump(&self, port: &str, file: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.fabric));
        command.args([
            "--",
            "tcpdump",
            "-i",
            port,
            "-U",
            "--immediate-mode",
            "-s",
            "0",
            "-Z",
            "root",
            "-n",
            "-w",
        ]);
        command.arg(file).stdin(Stdio::null());
        command
    }

    fn links(&mut self, scenario: &Scenario) -> Result<(), String> {
        for netns in self.hosts.values().map(|host| &host.netns).chain([&self.fabric]) {
            root_shell(&format!("ip netns add {netns} && ip -n {netns} link set lo up"))?;
        }
        let quiet = "net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1";
        root_shell(&format!("ip netns exec {} sysctl -qw {quiet}", self.fabric))?;
        for host in self.hosts.values() {
            let all: String = ["all", "default"]
                .iter()
                .map(|of| format!("net.ipv6.conf.{of}.accept_dad=0 net.ipv6.conf.{of}.accept_ra=0 net.ipv6.conf.{of}.router_solicitations=0 "))
                .collect();
            root_shell(&format!("ip netns exec {} sysctl -qw {all}", host.netns))?;
        }
        let mut commands = String::new();
        for (index, _) in scenario.network.iter().enumerate() {
            let _ = writeln!(
                commands,
                "link add b{index} type bridge forward_delay 0 mcast_snooping 0\nlink set b{index} up"
            );
        }
        for (name, host) in &self.hosts {
            for interface in scenario.host.get(name).into_iter().flat_map(|host| &host.interfaces) {
                let port = format!("p{}", self.ports.len());
                let bridge = scenario
                    .network
                    .keys()
                    .position(|network| *network == interface.network)
                    .unwrap_or_default();
                let network = scenario.network.get(&interface.network).cloned().unwrap_or_default();
                let mtu = network.mtu.map(|mtu| format!("mtu {mtu} ")).unwrap_or_default();
                let (peer, netns) = (&interface.name, &host.netns);
                let _ =
                    writeln!(commands, "link add {port} {mtu}type veth peer name {peer} {mtu}netns {netns}");
                let _ = writeln!(commands, "link set {port} master b{bridge} up");
                self.ports.insert(format!("{name}:{}", interface.name), port);
            }
        }
        batch(&self.fabric, &commands)?;
        self.netem(scenario)
    }

    /// Delay and loss on the way from the bridge to each host.
    fn netem(&self, scenario: &Scenario) -> Result<(), String> {
        for (name, host) in &scenario.host {
            for interface in &host.interfaces {
                let Some(network) = scenario.network.get(&interface.network) else { continue };
                let delay = network.delay.as_ref().map(|delay| format!(" delay {delay}")).unwrap_or_default();
                let loss = network.loss.as_ref().map(|loss| format!(" loss {loss}")).unwrap_or_default();
                let Some(port) = self.ports.get(&format!("{name}:{}", interface.name)) else { continue };
                if !delay.is_empty() || !loss.is_empty() {
                    root_shell(&format!(
                        "tc -n {} qdisc add dev {port} root netem limit 10000{delay}{loss}",
                        self.fabric
                    ))?;
                }
            }
        }
        Ok(())
    }

    /// Waits until every interface has its link-local address: the kernel gives it some time after the carrier.
    fn settle(&self) -> Result<(), String> {
        let deadline = Instant::now() + Duration::from_secs(20);
        for host in self.hosts.values() {
            let count =
                self.ports.keys().filter(|port| port.split(':').next() == Some(host.name.as_str())).count();
            let changes = address_changes(&host.netns)?;
            while host.must("ip -o -6 addr show scope link -tentative")?.lines().count() < count {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(format!("{}: its interfaces did not come up", host.name));
                }
                let failed = |e: nix::Error| format!("{}: changes of its addresses: {e}", host.name);
                let left = i64::try_from(left.as_millis()).unwrap_or(i64::MAX).max(1);
                setsockopt(&changes, sockopt::ReceiveTimeout, &TimeVal::milliseconds(left))
                    .map_err(failed)?;
                // What has changed is asked for; that the time is over shows above.
                let _ = recv(changes.as_raw_fd(), &mut [0; 4096], MsgFlags::empty());
            }
        }
        Ok(())
    }
}

/// A socket that hears of each change of an IPv6 address in that namespace, from now on.
fn address_changes(netns: &str) -> Result<OwnedFd, String> {
    /// RTMGRP_IPV6_IFADDR of linux/rtnetlink.h.
    const IPV6_ADDRESSES: u32 = 0x100;
    let failed = |e: &dyn core::fmt::Display| format!("{netns}: {e}");
    let namespace = fs::File::open(format!("/run/netns/{netns}")).map_err(|e| failed(&e))?;
    // A thread of its own goes there; the socket stays.
    let there = thread::spawn(move || -> nix::Result<OwnedFd> {
        setns(namespace, CloneFlags::CLONE_NEWNET)?;
        let (family, kind) = (AddressFamily::Netlink, SockType::Raw);
        let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, IPV6_ADDRESSES))?;
        Ok(socket)
    });
    there.join().map_err(|_| failed(&"the thread died"))?.map_err(|e| failed(&e))
}

impl Drop for Topology {
    fn drop(&mut self) {
        for host in self.hosts.values() {
            host.kill_all();
            let _ =
                root_shell(&format!("umount -l {0}; ip netns del {1}", host.mounts.display(), host.netns));
        }
        let _ = root_shell(&format!("ip netns del {}", self.fabric));
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The mount namespace. A peer's own root gives `/usr`, and what `/etc` and `/var` are laid over.
fn mounts(host: &Host, root: Option<&str>, work: &Path) -> Result<(), String> {
    let at = |e: std::io::Error| format!("{}: {e}", host.folder.display());
    fs::create_dir_all(&host.folder).map_err(at)?;
    fs::write(&host.mounts, "").map_err(at)?;
    let (own, work) = (host.folder.display(), work.display());
    let root = root.map(|name| needs::root(name).display().to_string()).unwrap_or_default();
    let overlay = |of: &str| {
        format!(
            "mkdir -p {own}/{of} {own}/{of}.work\n\
             mount -t overlay overlay -o lowerdir={root}/{of},upperdir={own}/{of},workdir={own}/{of}.work /{of}\n"
        )
    };
    let script = format!(
        "mount --bind {work} /mnt\n{}{}mount -t tmpfs -o mode=755 run /run\nmount -t tmpfs -o mode=1777 tmp /tmp\n\
         mount -t sysfs sysfs /sys\nmkdir -p /run/lock /run/dbus /var/log\n\
         [ -L /var/run ] || {{ rm -rf /var/run; ln -s /run /var/run; }}\n{}",
        overlay("etc"),
        overlay("var"),
        if root.is_empty() { String::new() } else { format!("mount --bind {root}/usr /usr\n") }
    );
    let mut unshare = Command::new("nsenter");
    unshare.arg(format!("--net=/run/netns/{}", host.netns));
    unshare
        .args(["--", "unshare", "--propagation", "private"])
        .arg(format!("--mount={}", host.mounts.display()));
    succeed(unshare.args(["sh", "-ec", &script]))
}

/// The host's files: users, names, the scenario's folder, what our packages install; and the rights on them.
fn files(host: &Host, folder: &Path, stage: &Path) -> Result<(), String> {
    let parts = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    for part in parts {
        if !["etc", "var", "run", "tmp"].iter().any(|own| part == *own) {
            return Err(format!(
                "{}: a host has etc, var, run and tmp of its own, and nothing else",
                folder.display()
            ));
        }
    }
    for (from, name) in [(folder.to_owned(), "files"), (stage.join("packaging"), "packaging")] {
        if from.is_dir() {
            succeed(Command::new("cp").arg("-R").arg(from).arg(host.folder.join(name)))?;
        }
    }
    let inside = &host.inside;
    let log = "charon-systemd { journal { default = -1 }\\n filelog { stderr { default = 1\\n flush_line = yes } } }";
    host.must(&format!(
        "set -e
        grep -q ^adit: /etc/group || echo 'adit:x:871:' >> /etc/group
        grep -q ^adit: /etc/passwd || echo 'adit:x:871:871:Adit:/var/lib/adit:/usr/sbin/nologin' >> /etc/passwd
        rm -f /etc/resolv.conf /etc/strongswan.d/charon-systemd.conf
        echo '# no name server' > /etc/resolv.conf
        printf '127.0.0.1 localhost\\n::1 localhost\\n' > /etc/hosts
        [ ! -d /etc/strongswan.d ] || printf '{log}\\n' > /etc/strongswan.d/zz-lab.conf
        [ ! -d {inside}/packaging/dbus ] || {{ mkdir -p /etc/dbus-1/system.d; cp {inside}/packaging/dbus/*.conf /etc/dbus-1/system.d/; }}
        [ ! -d {inside}/packaging/polkit ] || {{
            mkdir -p /etc/polkit-1/rules.d /etc/polkit-1/actions
            cp {inside}/packaging/polkit/*.rules /etc/polkit-1/rules.d/; cp {inside}/packaging/polkit/*.policy /etc/polkit-1/actions/; }}
        [ ! -d {inside}/files ] || cp -R {inside}/files/. /
        mkdir -p /etc/adit/profiles /var/lib/adit /run/adit
        chown adit:adit /var/lib/adit /run/adit; chmod 0750 /var/lib/adit; chmod 0755 /run/adit"
    ))?;
    own_configuration(host)
}

/// `/etc/adit` belongs to root and is read by the daemon's group alone.
pub(crate) fn own_configuration(host: &Host) -> Result<(), String> {
    host.must(
        "chown -R root:adit /etc/adit; find /etc/adit -type d -exec chmod 0750 {} +; \
         find /etc/adit -type f -exec chmod 0640 {} +",
    )
    .map(drop)
}

fn network(host: &Host, described: &scenario::Host) -> Result<(), String> {
    let mut commands = String::new();
    for interface in &described.interfaces {
        for address in &interface.addresses {
            let nodad = if address.contains(':') { " nodad" } else { "" };
            let _ = writeln!(commands, "addr add {address} dev {}{nodad}", interface.name);
        }
        let _ = writeln!(commands, "link set {} up", interface.name);
    }
    for route in &described.routes {
        let _ = writeln!(commands, "route add {route}");
    }
    batch(&host.netns, &commands)?;
    let mut script = "sysctl -qw net.ipv4.ping_group_range='0 2147483647'".to_owned();
    if described.router {
        script += " net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1";
    }
    for (name, value) in &described.sysctl {
        let _ = write!(script, " {name}='{value}'");
    }
    host.must(&script)?;
    if let Some(nat) = &described.nat {
        let how = match nat.kind {
            NatKind::EndpointIndependent => "masquerade",
            NatKind::Symmetric => "masquerade fully-random",
        };
        let chain = "type nat hook postrouting priority srcnat;";
        host.must(&format!(
            "nft 'table inet nat {{ chain out {{ {chain} oifname \"{}\" {how}; }}; }}'",
            nat.out
        ))?;
    }
    Ok(())
}

fn batch(netns: &str, commands: &str) -> Result<(), String> {
    let mut child = Command::new("ip")
        .args(["-n", netns, "-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("ip: {e}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(commands.as_bytes()).map_err(|e| format!("ip: {e}"))?;
    }
    let output = child.wait_with_output().map_err(|e| format!("ip: {e}"))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("ip in {netns}: {}\n{commands}", stderr.trim_end()))
    }
}

fn root_shell(script: &str) -> Result<(), String> {
    succeed(Command::new("sh").args(["-c", script]))
}

fn succeed(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|e| format!("{command:?}: {e}"))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {}", stderr.trim_end())) }
}
