//! What a `scenario.toml` may say. A new scenario is a folder and needs no Rust.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;

/// One scenario: a folder with `scenario.toml` and, a folder a host, the files laid over that host's root.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The folder's name.
    #[serde(skip)]
    pub name: String,
    /// The folder.
    #[serde(skip)]
    pub folder: PathBuf,
    /// What it shows, in one sentence.
    pub shows: String,
    /// The set it belongs to: `ci` is run by every check, `full` by `--all`, `bench` and `demo` by name only.
    pub set: String,
    /// What the machine must have.
    #[serde(default)]
    pub needs: Needs,
    /// Longest time that the whole scenario may take, in seconds.
    #[serde(default = "default_timeout")]
    pub timeout: u64,
    /// Layer-2 segments, by name.
    pub network: BTreeMap<String, Network>,
    /// Hosts, by name.
    pub host: BTreeMap<String, Host>,
    /// The test PKI, in the order of making.
    #[serde(default)]
    pub certificate: Vec<Certificate>,
    /// What is secret beside what the hosts' files give away: no log of ours may have it in any form.
    #[serde(default)]
    pub secret: Vec<String>,
    /// What happens, in order.
    pub step: Vec<Step>,
    /// What must hold at the end.
    #[serde(default)]
    pub expect: Expect,
    /// Ways to break the claim; with each, the scenario must fail.
    #[serde(default)]
    pub sabotage: Vec<Sabotage>,
}

/// What the machine must have, or the scenario is skipped.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Needs {
    /// Kernel modules, loaded or built in.
    #[serde(default)]
    pub modules: Vec<String>,
    /// Programs of Debian's packages.
    #[serde(default)]
    pub programs: Vec<String>,
    /// Our own programs: `aditd`, `ctl`.
    #[serde(default)]
    pub binaries: Vec<String>,
    /// Its steps suspend the machine: it runs in the VM, after all others, alone.
    #[serde(default)]
    pub sleep: bool,
    /// Roots of peers that can't be installed beside the others: what the hosts name as `root`.
    #[serde(skip)]
    pub roots: Vec<String>,
}

/// A layer-2 segment: a bridge outside of every host. Delay and loss hold for each frame that crosses it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// One-way delay as netem takes it (`20ms`).
    pub delay: Option<String>,
    /// Loss in one direction as netem takes it (`1%`).
    pub loss: Option<String>,
    /// Largest packet, in bytes, for every interface on it.
    pub mtu: Option<u32>,
}

/// A host: a network namespace and a mount namespace with `/etc`, `/run`, `/tmp` and `/var/lib/adit` of its own.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Root of its own for what is not installed beside the others: `libreswan` (5.2), `strongswan-5.9.8` or `softether` (both Debian 12's),
    /// `applet`.
    /// Its `/usr`, `/etc` and `/var` are then that root's, and so are the programs that its steps run.
    pub root: Option<String>,
    /// Its interfaces, in order.
    #[serde(default)]
    pub interfaces: Vec<Interface>,
    /// Routes as `ip route add` takes them.
    #[serde(default)]
    pub routes: Vec<String>,
    /// Whether it forwards between its interfaces.
    #[serde(default)]
    pub router: bool,
    /// Translation of what leaves it.
    pub nat: Option<Nat>,
    /// Whether it has a system bus of its own.
    #[serde(default)]
    pub dbus: bool,
    /// Further sysctls, set before the first step.
    #[serde(default)]
    pub sysctl: BTreeMap<String, String>,
}

/// One interface of a host.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interface {
    /// Device name inside the host.
    pub name: String,
    /// Segment that it is plugged into.
    pub network: String,
    /// Addresses with prefix length, IPv4 or IPv6.
    #[serde(default)]
    pub addresses: Vec<String>,
}

/// Network address translation at a router (IPv4 and IPv6).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nat {
    /// Interface whose outgoing packets are translated.
    pub out: String,
    /// How mappings are made.
    pub kind: NatKind,
}

/// The kinds of mapping of RFC 4787 §4.1 that matter to a tunnel.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum NatKind {
    /// One mapping a source port, kept where possible.
    EndpointIndependent,
    /// A new random port for every destination.
    Symmetric,
}

/// A certificate of the test PKI, made anew for each run.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// Subject common name, and the name by which others say `issuer`.
    pub name: String,
    /// `rsa-2048`, `rsa-3072`, `ecdsa-p256`, `ecdsa-p384` or `ed25519`.
    pub key: String,
    /// Name of the issuer; itself where absent.
    pub issuer: Option<String>,
    /// Whether it is a CA.
    #[serde(default)]
    pub ca: bool,
    /// Subject alternative names as OpenSSL writes them (`DNS:vpn.example.com`, `IP:192.0.2.1`, `email:a@b`).
    #[serde(default)]
    pub names: Vec<String>,
    /// Extended key usage (`serverAuth`, `clientAuth`).
    #[serde(default)]
    pub usage: Vec<String>,
    /// Further extensions, as lines of OpenSSL's configuration (`nameConstraints = critical, permitted;DNS:example.com`).
    #[serde(default)]
    pub extensions: Vec<String>,
    /// Days from now on which it begins to be valid.
    #[serde(default = "default_not_before")]
    pub not_before_days: i64,
    /// Days from now on which it ends.
    #[serde(default = "default_not_after")]
    pub not_after_days: i64,
    /// Files that get the certificate (PEM): `HOST:/path`.
    #[serde(default)]
    pub certificate_to: Vec<String>,
    /// Files that get the private key (PKCS#8 PEM): `HOST:/path`.
    #[serde(default)]
    pub key_to: Vec<String>,
}

/// One thing that happens. Exactly one verb is given: `run`, `until`, `start`, `stop`, `kill`, `send`, `link_down`, `link_up`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Name by which expectations and sabotages mean this step.
    pub label: Option<String>,
    /// Host that it happens on.
    pub on: Option<String>,
    /// Sentence that the narrated form (the demo) shows first.
    pub say: Option<String>,
    /// Shell command that must end within `within` and with `exit`.
    pub run: Option<String>,
    /// Shell command that is tried until it ends in 0, where no event tells.
    pub until: Option<String>,
    /// Program that stays: a known daemon (`aditd`, `charon-systemd`, `libreswan`, `NetworkManager`, `sink`) or a shell command.
    pub start: Option<String>,
    /// Name of what is started, for `stop`, `kill` and the log; the first word of `start` where absent.
    #[serde(rename = "as")]
    pub name: Option<String>,
    /// How a started program tells that it is ready: `notify`, `line:TEXT`, `none`. Known daemons know.
    pub ready: Option<String>,
    /// Ends a started program with SIGTERM and waits for it; its exit code must be `exit`.
    pub stop: Option<String>,
    /// Ends a started program with SIGKILL.
    pub kill: Option<String>,
    /// Traffic with the plaintext marker, to a `sink`.
    pub send: Option<Traffic>,
    /// `HOST:INTERFACE` loses its carrier.
    pub link_down: Option<String>,
    /// `HOST:INTERFACE` gets its carrier back.
    pub link_up: Option<String>,
    /// Exit code that `run` or `stop` must have. Absent: 0 for `run`, any for `stop`.
    pub exit: Option<i32>,
    /// Texts that standard output must hold.
    #[serde(default)]
    pub stdout: Vec<String>,
    /// Texts that standard error must hold.
    #[serde(default)]
    pub stderr: Vec<String>,
    /// Texts that standard output and error together must hold.
    #[serde(default)]
    pub output: Vec<String>,
    /// Texts that neither may hold.
    #[serde(default)]
    pub not_output: Vec<String>,
    /// Longest time for the step, in seconds.
    pub within: Option<u64>,
}

/// Traffic that a sink echoes. Every datagram, segment and ping carries the marker.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traffic {
    /// Address of the host with the sink.
    pub to: String,
    /// Bytes in each direction over TCP; none where 0.
    #[serde(default)]
    pub tcp: u64,
    /// Number of UDP datagrams (of 512 bytes); none where 0.
    #[serde(default)]
    pub udp: u32,
    /// Number of pings; none where 0.
    #[serde(default)]
    pub ping: u32,
    /// Hosts whose kernel must have carried it in its SAs: counters of both directions grow by what was sent.
    #[serde(default)]
    pub carried_by: Vec<String>,
}

/// What must hold at the end.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// What may be on a wire.
    #[serde(default)]
    pub wire: Vec<Wire>,
    /// What must be as it was.
    #[serde(default)]
    pub nothing_left: Vec<NothingLeft>,
}

/// What one wire may carry.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wire {
    /// Interfaces whose wire is read: `HOST:INTERFACE`.
    pub on: Vec<String>,
    /// `esp-only`: IKE, ESP, ESP in UDP, ARP, neighbour discovery, DHCP, no marker, and no sequence number of an SPI twice. `marker`: the marker must be seen (a
    /// check of the check).
    pub allow: String,
    /// Label of the step at whose beginning reading starts; the first step where absent.
    pub from: Option<String>,
    /// Label of the step at whose end reading ends; the last step where absent.
    pub to: Option<String>,
    /// Whether reading starts at the first packet of IKE in `from`, and not at that step's beginning, and is only of
    /// what that packet's sender sends: answers to what it sent before may still be on their way.
    #[serde(default)]
    pub from_first_ike: bool,
    /// Whether reading ends with the last packet of IKE, ESP or ESP in UDP before the end of `to`.
    #[serde(default)]
    pub to_last_of_tunnel: bool,
    /// ESP that must be among the packets: `esp`, `udp`, `any`, or `none` where there must be none.
    #[serde(default = "default_esp")]
    pub esp: String,
    /// Least number of SAs, told apart by destination and SPI, that must have carried something.
    #[serde(default)]
    pub spis: usize,
    /// Least number of IKE_SAs, told apart by their two SPIs, on which something must have been said.
    #[serde(default)]
    pub ike_sas: usize,
    /// Whether no Message ID of an IKE_SA may come twice with other content.
    #[serde(default)]
    pub messages_once: bool,
    /// Further UDP or TCP ports, or IP protocols, that may appear: `udp:53`, `ip:47`.
    #[serde(default)]
    pub also: Vec<String>,
}

/// Hosts that must be as they were: states, policies, links, addresses, routes, rules, proxies, nftables, sysctls, resolv.conf.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NothingLeft {
    /// The hosts.
    pub on: Vec<String>,
    /// Label of the step before which the host is recorded; the first step where absent.
    pub since: Option<String>,
    /// Label of the step after which it must be the same; the last step where absent.
    pub at: Option<String>,
}

/// One way to break the scenario's claim.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sabotage {
    /// What is broken, in a word.
    pub name: String,
    /// Label of the step before which it strikes.
    pub before: Option<String>,
    /// Label of the step after which it strikes (before that step's expectations are read).
    pub after: Option<String>,
    /// Host it strikes.
    pub on: String,
    /// Shell command; must end in 0.
    pub run: String,
    /// Text that the failure must then hold, so that it fails for this reason.
    pub because: Option<String>,
}

fn default_timeout() -> u64 {
    180
}

fn default_not_before() -> i64 {
    -1
}

fn default_not_after() -> i64 {
    30
}

fn default_esp() -> String {
    "any".to_owned()
}

impl Scenario {
    /// Reads every scenario below `folder`, sorted by name.
    ///
    /// # Errors
    /// The first scenario that does not parse or does not hold together, with the reason.
    pub fn all(folder: &Path) -> Result<Vec<Self>, String> {
        let entries = fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        let mut folders: Vec<PathBuf> = entries
            .collect::<io::Result<Vec<_>>>()
            .map_err(|e| format!("{}: {e}", folder.display()))?
            .into_iter()
            .map(|entry| entry.path())
            .filter(|path| path.join("scenario.toml").is_file())
            .collect();
        folders.sort();
        folders.iter().map(|path| Self::read(path)).collect()
    }

    /// Reads the scenario in `folder`.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn read(folder: &Path) -> Result<Self, String> {
        let file = folder.join("scenario.toml");
        let at = |why: String| format!("{}: {why}", file.display());
        let text = fs::read_to_string(&file).map_err(|e| at(e.to_string()))?;
        let mut scenario: Self = toml::from_str(&text).map_err(|e| at(e.to_string()))?;
        scenario.folder = folder.to_owned();
        scenario.name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        crate::check::holds_together(&scenario).map_err(at)?;
        Ok(scenario)
    }

    /// Position of the step with this label.
    #[must_use]
    pub fn step_at(&self, label: &str) -> Option<usize> {
        self.step.iter().position(|step| step.label.as_deref() == Some(label))
    }

    /// The bytes that traffic carries inside a tunnel and that no wire may show: 16 bytes, the longest pattern of `ping -p`.
    #[must_use]
    pub fn marker() -> &'static str {
        "ADIT-in-clear-!!"
    }
}
