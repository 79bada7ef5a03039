//! What `ctl` prints for the same things at 80 and 200 columns, with and without colour: `golden/WIDTH[-colour].txt`. One that
//! differs is written to the system's folder for temporary files, to be looked at and, if it is better, put in its place.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use adit_core::{Failure, FailureCode, Step};
use adit_dbus_api::{DoctorCheck, LogEntry, Problem, ProfileSummary, SettingLine, Traffic};
use adit_import::{File, LeftOut, Options, Weakening, check_suite};
use adit_profile::{Source, parse_profile};

use super::says::{self, Became};
use super::{Event, Palette, fixtures, report};
use crate::exit::{self, Status};

const NOW: u64 = 1_795_174_807 + 192;

#[test]
fn every_text_is_as_it_was_looked_at() {
    let golden = [
        (80, false, include_str!("golden/80.txt")),
        (200, false, include_str!("golden/200.txt")),
        (80, true, include_str!("golden/80-colour.txt")),
        (200, true, include_str!("golden/200-colour.txt")),
    ];
    let mut differ = Vec::new();
    for (width, colour, known) in golden {
        let now = everything(width, Palette { colour });
        if now != known {
            let name = format!("{width}{}.txt", if colour { "-colour" } else { "" });
            let path = std::env::temp_dir().join(format!("ctl-golden-{name}"));
            std::fs::write(&path, now).unwrap();
            differ.push(path);
        }
    }
    assert!(differ.is_empty(), "they differ from ctl/src/render/golden: {differ:?}");
}

fn everything(width: usize, palette: Palette) -> String {
    let mut out = String::new();
    let mut add = |title: &str, text: &str| {
        writeln!(out, "--- {title}\n{}", text.trim_end_matches('\n')).unwrap();
    };
    let (up, down) = (fixtures::connected(), fixtures::failed());
    let rows = [fixtures::row(up.clone()), fixtures::row(down.clone())];
    let traffic = Traffic { bytes_in: 36_175_872, bytes_out: 1234, packets_in: 30_211, packets_out: 17 };
    add("ctl up", &super::up_line(&up, palette));
    add("ctl status", &super::table(&rows, NOW, palette));
    add("ctl status corp", &super::block(&up, Some(traffic), NOW, palette, width));
    add("ctl status home-office", &super::block(&down, None, NOW, palette, width));
    let all = [profile(), broken()];
    add("ctl list", &super::profiles(&all, |_| "down".to_owned(), palette, width));
    add("ctl show corp", &super::profile(&profile(), "down", palette, width));
    let events = [
        Event::State { old: String::new(), new: "connected".into(), reason: String::new() },
        Event::Progress { step: "child-sa".into(), text: "IKEv2: rekeying".into() },
        Event::State { old: "connected".into(), new: "failed".into(), reason: "peer-lost".into() },
        Event::Added { what: "profile" },
        Event::Removed { what: "connection" },
    ];
    let told: Vec<String> = events.iter().map(|event| super::event(NOW, "corp", event, palette)).collect();
    add("ctl monitor", &told.join("\n"));
    add(
        "ctl log corp",
        &log().iter().map(|entry| super::log_entry(entry, palette, width)).collect::<String>(),
    );
    add("ctl doctor corp", &super::checks(&checks(), palette, width));
    add("ctl up corp, refused", &super::failure("corp", &refused(), Status::AUTHENTICATION, palette, width));
    add("ctl status, no daemon", &super::failure("", &no_daemon(), Status::NOT_RUNNING, palette, width));
    add("ctl check", &mistakes(palette, width));
    for (title, text) in imports(palette, width) {
        add(title, &text);
    }
    add("ctl bugreport", &bugreport());
    add("ctl exit-codes", &exit::table());
    add("lines of commands", &alone(palette).join("\n"));
    add("ctl up at a terminal", &at_a_terminal(palette).join("\n"));
    add("ctl agent", &agent().join("\n"));
    add("questions", &questions().join("\n"));
    out
}

/// Of a keyfile with a bit of everything: what is carried, what is not, what weakens and what is missing.
fn imports(palette: Palette, width: usize) -> [(&'static str, String); 4] {
    let keyfile = "[connection]\nid=Corp\ntype=vpn\nautoconnect=true\n[vpn]\nservice-type=org.freedesktop.NetworkManager.sstp\n\
        gateway=vpn.example.com\nuser=alice\npassword-flags=1\nignore-cert-warn=yes\nnopcomp=yes\nca-cert=/home/alice/corp-ca.pem\n";
    let read = |keyfile: &str, accept: &[Weakening]| {
        let file = File { name: "corp.nmconnection", content: keyfile.as_bytes() };
        adit_import::import(&[file], &Options { accept, ..Options::default() }).unwrap()
    };
    let typed = "ctl import corp.nmconnection";
    let shown = |found: &adit_import::Import, paths: &[PathBuf]| {
        super::imported(&found.profiles[0], paths, typed, found.format, palette, width)
    };
    let refused = read(keyfile, &[]);
    let pptp = keyfile.replace("sstp", "pptp").replace("ignore-cert-warn=yes\n", "");
    let taken = read(&pptp, &[Weakening::NoEncryption, Weakening::Mschapv1, Weakening::Chap]);
    let whole = read(
        &keyfile.replace("ignore-cert-warn=yes\n", "").replace("ca-cert=/home/alice/corp-ca.pem\n", ""),
        &[],
    );
    let paths = [PathBuf::from("/etc/adit/profiles/Corp.toml")];
    let left = LeftOut { key: "VPNUUID".into(), why: "a profile has a name".into() };
    [
        ("ctl import, refused", shown(&refused, &[])),
        ("ctl import, taken", shown(&taken, &paths)),
        ("ctl import", shown(&whole, &paths)),
        ("ctl export", super::left_over(&[left], palette, width)),
    ]
}

fn bugreport() -> String {
    let head = |with_names| report::Head {
        at: "2026-11-20 11:43:19 UTC",
        with_names,
        ctl: "0.1.0",
        aditd: "0.1.0",
        system: "Debian GNU/Linux 13 (trixie)",
        kernel: "Linux 6.12.57 x86_64",
    };
    let none = std::io::Error::from(std::io::ErrorKind::NotFound);
    [
        head(false).text(),
        head(true).text(),
        report::section("ctl status", "NAME  ROLE\n"),
        report::section("listening", ""),
        report::not_reached("aditd does not run"),
        report::nothing_of(&none),
        report::no_more_in(10),
        report::more_lines(3),
    ]
    .join("\n")
}

fn alone(palette: Palette) -> Vec<String> {
    let path = Path::new("/etc/adit/profiles/corp.toml");
    let all = [
        Became::Up,
        Became::GoingDown,
        Became::Down,
        Became::TakenDown,
        Became::Rekeying,
        Became::Rekeyed,
        Became::Unchanged,
        Became::Known(Path::new("/etc/adit/secrets/corp.password")),
    ];
    let mut lines: Vec<String> = all.into_iter().map(|what| says::became("corp", what, palette)).collect();
    lines.extend([
        says::going_up("corp"),
        says::added("corp", path, palette),
        says::deleted(path),
        says::edited("corp", Path::new("/etc/adit/profiles/corp.toml.before"), palette),
        says::as_it_was(path),
        says::EDIT_AGAIN.to_owned(),
        says::good("corp.toml", palette),
        says::would_be(path),
        says::beside(Path::new("/etc/adit/certs/corp-ca.pem")),
        says::nothing_happened("corp"),
        says::NOTHING_CONNECTED.to_owned(),
        says::NO_PROFILES.to_owned(),
        says::RELOADED.to_owned(),
        says::no_runtime("Too many open files (os error 24)"),
    ]);
    lines
}

/// What `ctl up`, with or without `--foreground`, and `ctl status --watch` say there besides.
fn at_a_terminal(palette: Palette) -> Vec<String> {
    vec![
        says::step_over(true, "IKEv2: resolving vpn.example.com", palette),
        says::step_over(false, "IKEv2: authenticating", palette),
        says::CTRL_C_TAKES_IT_DOWN.to_owned(),
        says::interrupted("corp"),
        says::CTRL_C_ENDS_THIS.to_owned(),
    ]
}

fn agent() -> Vec<String> {
    let failed = says::has_failed("corp");
    vec![
        says::ready(true).to_owned(),
        says::ready(false).to_owned(),
        says::not_answered("corp", "nothing was typed"),
        says::not_taken("corp", "you may not do this"),
        says::kept("corp", "password"),
        says::not_kept("corp", "the collection is locked"),
        says::not_taken(&failed, &refused().to_string()),
        // Of a notification.
        says::SECRET_NEEDED.to_owned(),
        failed,
    ]
}

fn questions() -> Vec<String> {
    let wrong = "EAP-GTC: the server refused: the name, or what was typed, is wrong";
    let asked = says::question(["corp", wrong, "Code for alice"]);
    vec![
        says::prompt("Password for alice"),
        says::prompt(says::THE_SAME_AGAIN),
        says::THEY_DIFFER.to_owned(),
        says::prompt(&says::question(["corp", "", "New password for alice"])),
        says::prompt(&says::question_again("corp: New password for alice")),
        says::prompt(&asked),
        says::prompt("what a server says\u{1b}[2J is no command"),
    ]
}

/// Every word that is printed stands in this module, and so above: no command has one of its own.
#[test]
fn no_text_is_printed_past_this_module() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let folders = [sources.clone(), sources.join("agent"), sources.join("redact")];
    let files = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
    let files =
        files.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "rs"));
    let (mut calls, mut found) = (0, Vec::new());
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        for printed in ["line(", "say(", "remark(", "complain(", "println("] {
            for (_, after) in text.match_indices(printed).map(|(at, _)| text[at..].split_at(printed.len())) {
                calls += 1;
                let after = after.trim_start().trim_start_matches('&').trim_start_matches("tty, &");
                let Some(literal) = after.strip_prefix("format!(").unwrap_or(after).strip_prefix('"') else {
                    continue;
                };
                let literal = literal.split('"').next().unwrap_or_default();
                if words(literal) {
                    found.push(format!("{}: {literal}", path.display()));
                }
            }
        }
    }
    assert!(calls > 40, "{calls}");
    assert!(found.is_empty(), "{found:?}");
}

/// Whether a literal has any letters besides its placeholders and escapes.
fn words(literal: &str) -> bool {
    let mut depth = 0_u32;
    for c in literal.replace("\\n", "").chars() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            c if depth == 0 && c.is_alphabetic() => return true,
            _ => {}
        }
    }
    false
}

#[test]
fn words_are_told_from_what_holds_them() {
    assert!(words("{name} is up\\n") && !words("{name}\\n{}: {why:?}"));
}

fn profile() -> ProfileSummary {
    let line =
        |key: &str, value: &str, default: bool| SettingLine { key: key.into(), value: value.into(), default };
    ProfileSummary {
        path: "/org/adit1/profile/1".into(),
        name: "corp".into(),
        server: "vpn.example.com".into(),
        auth: "eap".into(),
        tunnel: "full".into(),
        problems: vec![],
        settings: vec![
            line("server", "\"vpn.example.com\"", false),
            line("psk", "(hidden)", false),
            line("dpd", "\"30s\"", true),
        ],
        connection: None,
    }
}

fn broken() -> ProfileSummary {
    let problem = Problem {
        code: "configuration-invalid".into(),
        place: "/etc/adit/profiles/old.toml:2:8".into(),
        text: "auth is \"spk\", which is none of the ways in which a client can prove itself to a server"
            .into(),
        hint: "did you mean \"psk\"?".into(),
    };
    ProfileSummary {
        name: "old".into(),
        server: String::new(),
        auth: String::new(),
        tunnel: String::new(),
        problems: vec![problem],
        settings: vec![],
        ..profile()
    }
}

fn log() -> Vec<LogEntry> {
    let entry = |event: &str, reason: &str, text: &str, peer: &str, hint: &str| LogEntry {
        sequence: 1,
        at: NOW,
        connection: 7,
        event: event.into(),
        step: "authenticate".into(),
        reason: reason.into(),
        text: text.into(),
        peer: peer.into(),
        hint: hint.into(),
    };
    let Failure { code, text, peer, hint, .. } = refused();
    let (peer, hint) = (peer.unwrap_or_default(), hint.unwrap_or_default());
    vec![
        entry("connecting", "", "", "", ""),
        entry("progress", "", "IKEv2: resolving vpn.example.com", "", ""),
        entry("connected", "established", "", "", ""),
        entry("rekey-refused", "proposal-mismatch", "the peer refused it", "NO_PROPOSAL_CHOSEN", ""),
        entry("failed", code.as_str(), &text, &peer, &hint),
    ]
}

fn checks() -> Vec<DoctorCheck> {
    let check = |status: &str, text: &str, hint: &str| DoctorCheck {
        id: "x".into(),
        status: status.into(),
        text: text.into(),
        hint: hint.into(),
    };
    vec![
        check("ok", "vpn.example.com is 203.0.113.1, 2001:db8::1", ""),
        check(
            "fail",
            "IKEv2 to 203.0.113.1: vpn server 203.0.113.1 did not answer on UDP 500 (4 tries in 14 s)",
            "check the server's address, and that firewalls let UDP 500 and UDP 4500 through",
        ),
        check(
            "warn",
            "the certificate of vpn.example.com is good: CN=vpn.example.com, issued by CN=Corp CA, until 2026-12-01 00:00 UTC, \
             which is soon",
            "whoever runs the server has to renew it before",
        ),
    ]
}

fn refused() -> Failure {
    let text = "the server did not accept who we are: the identity alice@example.com is unknown to it, or the PSK is another one";
    Failure::new(FailureCode::AuthenticationFailed, Step::Authenticate, text)
        .said("AUTHENTICATION_FAILED")
        .hint("check local-id and psk-file in /etc/adit/profiles/corp.toml, then: ctl up corp")
}

fn no_daemon() -> Failure {
    Failure::new(FailureCode::NotFound, Step::Profile, "aditd does not run")
        .hint("start it: sudo systemctl start aditd (without systemd: sudo aditd)")
}

fn mistakes(palette: Palette, width: usize) -> String {
    let text = "server = \"vpn.example.com\"\nauth = \"spk\"\nmtu = 12\nlocal-id = \"alice@example.com\"\n";
    let source = Source { file: "corp.toml", text, access: None };
    let errors = parse_profile(&"corp".parse().unwrap(), &source, &check_suite).unwrap_err();
    super::mistakes(&errors, text, palette, width)
}
