use std::process::Stdio;
use std::time::Duration;

use adit_dbus_api::{ConnectionStatus, DoctorCheck, LogEntry, ManagerProxy, ProfileSummary};
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use zbus::Connection;

use crate::args::{Bugreport, BusChoice};
use crate::doctor;
use crate::ended::Ended;
use crate::json;
use crate::output::{Output, now};
use crate::redact::{Kind, Redactor};
use crate::render::{self, Palette, report};
use crate::session;

/// How long a program may take to tell.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes that are read of what a program says, and lines that are shown of them: a server has 20,000 of everything.
const LONGEST: u64 = 1 << 20;
const LINES: usize = 300;
/// Connections that are shown, and lines of what happened to each.
const CONNECTIONS: usize = 20;
const PLAIN: Palette = Palette { colour: false };
const WIDTH: usize = 120;

/// What is asked of this host. No state's keys: `nokeys`.
const PROGRAMS: &[&[&str]] = &[
    &["ip", "-details", "link"],
    &["ip", "-brief", "address"],
    &["ip", "rule"],
    &["ip", "-6", "rule"],
    &["ip", "route", "show", "table", "all"],
    &["ip", "-6", "route", "show", "table", "all"],
    &["ip", "xfrm", "policy"],
    &["ip", "-statistics", "xfrm", "state", "list", "nokeys"],
    &["ip", "l2tp", "show", "tunnel"],
    &["nft", "list", "ruleset"],
    &["ss", "-lunp"],
    &["ss", "-ltnp"],
    &["resolvectl", "--no-pager", "status"],
    &[
        "journalctl",
        "--unit",
        "aditd",
        "--lines",
        "300",
        "--no-pager",
        "--no-hostname",
        "--output",
        "short-iso",
    ],
];

/// What is read of this host.
const FILES: &[&str] = &["/etc/resolv.conf", "/proc/net/xfrm_stat", "/proc/cmdline"];

/// The kernel's modules that matter here begin with one of these.
const MODULES: &[&str] =
    &["xfrm", "esp", "ah4", "ah6", "ppp", "pptp", "l2tp", "gre", "ip_gre", "tun", "nf", "aes", "gcm"];

/// `ctl bugreport`: one text.
pub(crate) async fn bugreport(args: &Bugreport, bus: BusChoice, output: Output) -> Result<(), Ended> {
    let mut redactor = Redactor::new(!args.with_names);
    learn_host(&mut redactor);
    let mut report = Report { text: head(args.with_names) };
    let version = match session::open(bus).await {
        Ok(connection) => of_daemon(&connection, &mut report, &mut redactor).await,
        Err(ended) => {
            let why = match &ended {
                Ended::Failure { failure, .. } => failure.text.clone(),
                Ended::Said(_) => String::new(),
            };
            report.section("ctl doctor", &render::checks(&doctor::local(), PLAIN, WIDTH));
            report::not_reached(&why)
        }
    };
    of_host(&mut report).await;
    let text = report.text.replace(VERSION, &version);
    let text = redactor.redact(&text);
    match output.json {
        true => output.line(&json::document("report", &text)),
        false => output.say(&text),
    }
}

/// Where the daemon's version is to stand.
const VERSION: &str = "{aditd's version}";

struct Report {
    text: String,
}

impl Report {
    fn section(&mut self, title: &str, text: &str) {
        self.text.push_str(&report::section(title, text));
    }
}

fn head(with_names: bool) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let os = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let os =
        os.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("unknown").trim_matches('"');
    let kernel =
        [&read("/proc/sys/kernel/ostype"), &read("/proc/sys/kernel/osrelease"), std::env::consts::ARCH];
    let head = report::Head {
        at: &render::date(now()),
        with_names,
        ctl: env!("CARGO_PKG_VERSION"),
        aditd: VERSION,
        system: os,
        kernel: &kernel.join(" "),
    };
    head.text()
}

/// This host's name, and whoever is logged in.
fn learn_host(redactor: &mut Redactor) {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    redactor.learn(&name, Kind::Host);
    for variable in ["USER", "LOGNAME", "SUDO_USER"] {
        redactor.learn(&std::env::var(variable).unwrap_or_default(), Kind::User);
    }
}

/// The version.
async fn of_daemon(connection: &Connection, report: &mut Report, redactor: &mut Redactor) -> String {
    let Ok(manager) = ManagerProxy::new(connection).await else { return "not reached".to_owned() };
    let checks: Vec<DoctorCheck> = manager.doctor().await.unwrap_or_default();
    report.section("ctl doctor", &render::checks(&checks, PLAIN, WIDTH));
    if let Ok(snapshot) = session::snapshot(connection).await {
        let shown = |profile: &ProfileSummary| render::profile(profile, "as it is now", PLAIN, WIDTH);
        snapshot.profiles.iter().for_each(|profile| learn_profile(profile, redactor));
        report.section("profiles", &snapshot.profiles.iter().map(shown).collect::<String>());
        snapshot.connections.iter().for_each(|row| redactor.learn(&row.remote_identity, Kind::User));
        report.section("ctl status", &render::table(&snapshot.connections, now(), PLAIN));
        let mut names: Vec<&str> = snapshot.profiles.iter().map(|profile| profile.name.as_str()).collect();
        for row in snapshot.connections.iter().take(CONNECTIONS) {
            let Some(status) = session::details(connection, row).await else { continue };
            learn_connection(&status, redactor);
            let traffic = session::traffic_of(connection, &status).await;
            let text = render::block(&status, traffic, now(), PLAIN, WIDTH);
            report.section(&format!("ctl status {}", status.profile), &text);
            if !names.contains(&row.profile.as_str()) {
                names.push(&row.profile);
            }
        }
        for name in names {
            let entries: Vec<LogEntry> = manager.log(name, 0).await.unwrap_or_default();
            if !entries.is_empty() {
                let text: String =
                    entries.iter().map(|entry| render::log_entry(entry, PLAIN, WIDTH)).collect();
                report.section(&format!("ctl log {name}"), &text);
            }
        }
    }
    let listening = manager.listening().await.unwrap_or_default();
    report.section("listening", &listening.join("\n"));
    manager.version().await.unwrap_or_else(|_| "unknown".to_owned())
}

/// What a profile calls somebody.
fn learn_profile(profile: &ProfileSummary, redactor: &mut Redactor) {
    for line in &profile.settings {
        let kind = match line.key.as_str() {
            key if key.contains("user") || key.ends_with("id") || key.contains("identity") => Kind::User,
            "server" | "proxy" => Kind::Host,
            _ => continue,
        };
        let values = line.value.split([',', '[', ']']).map(|value| value.trim().trim_matches('"'));
        values.filter(|value| *value != "(hidden)").for_each(|value| redactor.learn(value, kind));
    }
    redactor.learn(&profile.server, Kind::Host);
}

fn learn_connection(status: &ConnectionStatus, redactor: &mut Redactor) {
    for name in [&status.server, &status.gateway].into_iter().chain(&status.dns_domains) {
        redactor.learn(name, Kind::Host);
    }
    redactor.learn(&status.remote_identity, Kind::User);
    redactor.learn(&status.local_identity, Kind::User);
}

async fn of_host(report: &mut Report) {
    let modules = std::fs::read_to_string("/proc/modules").unwrap_or_default();
    let ours = |line: &&str| MODULES.iter().any(|module| line.starts_with(module));
    let names = modules.lines().filter(ours).filter_map(|line| line.split(' ').next());
    report.section("modules", &names.collect::<Vec<_>>().join(" "));
    for file in FILES {
        let text = std::fs::read_to_string(file).unwrap_or_else(|error| report::nothing_of(&error));
        report.section(file, &text);
    }
    for program in PROGRAMS {
        report.section(&program.join(" "), &said(program).await);
    }
}

/// What a program says, or why it says nothing.
async fn said(program: &[&str]) -> String {
    let Some((name, arguments)) = program.split_first() else { return String::new() };
    let mut command = Command::new(name);
    command.args(arguments).env("LC_ALL", "C").stdin(Stdio::null()).kill_on_drop(true);
    let started = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) => return report::nothing_of(&error),
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let all = async {
        let out = async {
            if let Some(from) = child.stdout.take() {
                let _ = from.take(LONGEST).read_to_end(&mut out).await;
            }
        };
        let err = async {
            if let Some(from) = child.stderr.take() {
                let _ = from.take(LONGEST).read_to_end(&mut err).await;
            }
        };
        futures_util::future::join(out, err).await;
    };
    if tokio::time::timeout(PATIENCE, all).await.is_err() {
        err.extend_from_slice(format!("{}\n", report::no_more_in(PATIENCE.as_secs())).as_bytes());
    }
    shortened(&format!("{}{}", String::from_utf8_lossy(&out), String::from_utf8_lossy(&err)))
}

/// The first lines, and how many there are beside; nothing that would drive a terminal.
fn shortened(text: &str) -> String {
    let printable =
        |line: &str| -> String { line.chars().filter(|c| !c.is_control() || *c == '\t').collect() };
    let mut lines: Vec<String> = text.lines().take(LINES).map(printable).collect();
    let more = text.lines().count().saturating_sub(LINES);
    if more > 0 {
        lines.push(report::more_lines(more));
    }
    lines.join("\n")
}
