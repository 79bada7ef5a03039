//! What `--json` prints: docs/ctl-json-N.schema.json, where N is [`SCHEMA`]. Whoever changes it gives it the next number;
//! `tests/schema.rs` says what else.

use std::path::PathBuf;

use adit_core::{Failure, windows_errors};
use adit_dbus_api::{
    ChildParts, ConnectionStatus, DoctorCheck, LogEntry, Problem, ProfileSummary, SettingLine, Traffic,
    TriedParts,
};
use adit_import::{Exported, Format, Import, LeftOut};
use adit_profile::{ProfileError, ProfileErrors};
use serde::Serialize;

use crate::exit::{Status, word};
use crate::render::Event;

/// The number of the schema.
pub(crate) const SCHEMA: u32 = 1;

/// A document: the schema's number and one thing.
pub(crate) fn document<T: Serialize>(key: &'static str, value: &T) -> String {
    let value = serde_json::to_value(value).unwrap_or(serde_json::Value::Null);
    let mut map = serde_json::Map::new();
    map.insert("schema".into(), SCHEMA.into());
    map.insert(key.into(), value);
    serde_json::Value::Object(map).to_string()
}

/// An event of `ctl monitor`: one line.
#[derive(Serialize)]
pub(crate) struct EventLine<'e> {
    pub(crate) schema: u32,
    pub(crate) at: u64,
    pub(crate) path: &'e str,
    pub(crate) name: &'e str,
    #[serde(flatten)]
    pub(crate) event: &'e Event,
}

/// A line of `ctl log`.
#[derive(Serialize)]
pub(crate) struct LogEntryJson<'l> {
    at: u64,
    connection: u64,
    event: &'l str,
    step: &'l str,
    reason: &'l str,
    text: &'l str,
    peer: &'l str,
    hint: &'l str,
}

impl<'l> From<&'l LogEntry> for LogEntryJson<'l> {
    fn from(entry: &'l LogEntry) -> Self {
        let LogEntry { at, connection, event, step, reason, text, peer, hint, .. } = entry;
        Self { at: *at, connection: *connection, event, step, reason, text, peer, hint }
    }
}

/// A line of `ctl log --follow`.
#[derive(Serialize)]
pub(crate) struct LogLine<'l> {
    pub(crate) schema: u32,
    #[serde(flatten)]
    pub(crate) entry: LogEntryJson<'l>,
}

#[derive(Serialize)]
pub(crate) struct FailureJson<'f> {
    about: &'f str,
    code: &'static str,
    step: &'static str,
    text: &'f str,
    peer: Option<&'f str>,
    hint: Option<&'f str>,
    /// What Windows calls it: numbers, the likeliest first.
    windows: Vec<&'static str>,
    exit_status: u8,
}

impl<'f> FailureJson<'f> {
    pub(crate) fn new(about: &'f str, failure: &'f Failure, status: Status) -> Self {
        Self {
            about,
            code: word(failure.code, status),
            step: failure.step.as_str(),
            text: &failure.text,
            peer: failure.peer.as_deref(),
            hint: failure.hint.as_deref(),
            windows: windows_errors(failure.code, failure.step).iter().map(|(number, _)| *number).collect(),
            exit_status: status.0,
        }
    }
}

/// What `ctl import` did.
#[derive(Serialize)]
pub(crate) struct ImportJson<'i> {
    format: &'static str,
    profiles: Vec<ImportedJson<'i>>,
    left_out: Vec<LeftOutJson<'i>>,
}

#[derive(Serialize)]
struct ImportedJson<'i> {
    name: &'i str,
    called: &'i str,
    toml: Option<&'i str>,
    wrote: Vec<String>,
    carried: Vec<CarriedJson<'i>>,
    left_out: Vec<LeftOutJson<'i>>,
    weak: Vec<WeakJson<'i>>,
    missing: Vec<MissingJson<'i>>,
    notes: &'i [String],
}

#[derive(Serialize)]
struct CarriedJson<'i> {
    from: &'i str,
    to: &'i str,
}

#[derive(Serialize)]
struct LeftOutJson<'i> {
    key: &'i str,
    why: &'i str,
}

#[derive(Serialize)]
struct WeakJson<'i> {
    key: &'i str,
    weakening: &'static str,
    why: &'static str,
    instead: &'static str,
    taken: bool,
    needed: bool,
}

#[derive(Serialize)]
struct MissingJson<'i> {
    what: &'i str,
    next: &'i str,
}

impl<'i> ImportJson<'i> {
    pub(crate) fn new(found: &'i Import, wrote: &[Vec<PathBuf>]) -> Self {
        let left =
            |all: &'i [LeftOut]| all.iter().map(|l| LeftOutJson { key: &l.key, why: &l.why }).collect();
        let profiles = found.profiles.iter().zip(wrote).map(|(profile, paths)| ImportedJson {
            name: profile.name.as_str(),
            called: &profile.called,
            toml: profile.toml.as_deref(),
            wrote: paths.iter().map(|path| path.display().to_string()).collect(),
            carried: profile.carried.iter().map(|(from, to)| CarriedJson { from, to }).collect(),
            left_out: left(&profile.left_out),
            weak: profile
                .weak
                .iter()
                .map(|w| WeakJson {
                    key: &w.key,
                    weakening: w.weakening.as_str(),
                    why: w.weakening.why(),
                    instead: w.weakening.instead(),
                    taken: w.taken,
                    needed: w.needed,
                })
                .collect(),
            missing: profile.missing.iter().map(|m| MissingJson { what: &m.what, next: &m.next }).collect(),
            notes: &profile.notes,
        });
        Self { format: found.format.as_str(), profiles: profiles.collect(), left_out: left(&found.left_out) }
    }
}

/// What `ctl export` made.
#[derive(Serialize)]
pub(crate) struct ExportJson<'e> {
    format: &'static str,
    text: &'e str,
    left_out: Vec<LeftOutJson<'e>>,
}

impl<'e> ExportJson<'e> {
    pub(crate) fn new(format: Format, exported: &'e Exported) -> Self {
        let left_out = exported.left_out.iter().map(|l| LeftOutJson { key: &l.key, why: &l.why }).collect();
        Self { format: format.as_str(), text: &exported.text, left_out }
    }
}

/// What `ctl check` says of a file.
#[derive(Serialize)]
pub(crate) struct FileCheckJson {
    file: String,
    valid: bool,
    problems: Vec<CheckProblem>,
}

#[derive(Serialize)]
struct CheckProblem {
    code: &'static str,
    place: String,
    text: String,
    hint: String,
}

impl FileCheckJson {
    pub(crate) fn new(file: String, errors: Option<&ProfileErrors>) -> Self {
        let problem = |e: &ProfileError| CheckProblem {
            code: e.code.as_str(),
            place: e.place(),
            text: e.message.clone(),
            hint: e.help.clone(),
        };
        let problems: Vec<_> = errors.map(|e| e.all().iter().map(problem).collect()).unwrap_or_default();
        Self { file, valid: problems.is_empty(), problems }
    }
}

#[derive(Serialize)]
struct ChildJson<'c> {
    name: &'c str,
    mode: &'c str,
    esp_suite: &'c str,
    local: &'c [String],
    remote: &'c [String],
}

impl<'c> ChildJson<'c> {
    fn new((name, mode, esp_suite, local, remote): &'c ChildParts) -> Self {
        Self { name, mode, esp_suite, local, remote }
    }
}

#[derive(Serialize)]
struct TriedJson<'c> {
    tunnel: &'c str,
    to: &'c str,
    code: &'c str,
    text: &'c str,
}

impl<'c> TriedJson<'c> {
    fn new((tunnel, to, code, text): &'c TriedParts) -> Self {
        Self { tunnel, to, code, text }
    }
}

#[derive(Serialize)]
pub(crate) struct ConnectionJson<'c> {
    path: &'c str,
    name: &'c str,
    role: &'static str,
    state: &'static str,
    step: &'c str,
    since: u64,
    server: &'c str,
    local_endpoint: &'c str,
    remote_endpoint: &'c str,
    encapsulated: bool,
    interface: &'c str,
    addresses: &'c [String],
    dns: &'c [String],
    dns_domains: &'c [String],
    routes: &'c [String],
    remote_identity: &'c str,
    local_identity: &'c str,
    tunnel: &'c str,
    tried: Vec<TriedJson<'c>>,
    ike_suite: &'c str,
    esp_suite: &'c str,
    resumed: bool,
    gateway: &'c str,
    children: Vec<ChildJson<'c>>,
    legacy: &'c [String],
    rekeys: u64,
    next_rekey: u64,
    uplink: &'c str,
    moves: &'c [adit_dbus_api::MoveParts],
    traffic: Option<Traffic>,
    last_error: Option<FailureJson<'c>>,
}

impl<'c> ConnectionJson<'c> {
    pub(crate) fn new(c: &'c ConnectionStatus, traffic: Option<Traffic>) -> Self {
        Self {
            path: &c.path,
            name: &c.profile,
            role: c.role.as_str(),
            state: c.state.as_str(),
            step: &c.step,
            since: c.since,
            server: &c.server,
            local_endpoint: &c.local_endpoint,
            remote_endpoint: &c.remote_endpoint,
            encapsulated: c.encapsulated,
            interface: &c.interface,
            addresses: &c.addresses,
            dns: &c.dns,
            dns_domains: &c.dns_domains,
            routes: &c.routes,
            remote_identity: &c.remote_identity,
            local_identity: &c.local_identity,
            tunnel: &c.tunnel,
            tried: c.tried.iter().map(TriedJson::new).collect(),
            ike_suite: &c.ike_suite,
            esp_suite: &c.esp_suite,
            resumed: c.resumed,
            gateway: &c.gateway,
            children: c.children.iter().map(ChildJson::new).collect(),
            legacy: &c.legacy,
            rekeys: c.rekeys,
            next_rekey: c.next_rekey,
            uplink: &c.uplink,
            moves: &c.moves,
            traffic,
            last_error: c.last_error.as_ref().map(|f| FailureJson::new(&c.profile, f, Status::of(f.code))),
        }
    }
}

#[derive(Serialize)]
pub(crate) struct ProfileJson<'p> {
    path: &'p str,
    name: &'p str,
    state: &'p str,
    server: &'p str,
    auth: &'p str,
    tunnel: &'p str,
    connection: Option<&'p str>,
    settings: &'p [SettingLine],
    problems: &'p [Problem],
}

impl<'p> ProfileJson<'p> {
    pub(crate) fn new(p: &'p ProfileSummary, state: &'p str) -> Self {
        Self {
            path: &p.path,
            name: &p.name,
            state,
            server: &p.server,
            auth: &p.auth,
            tunnel: &p.tunnel,
            connection: p.connection.as_deref(),
            settings: &p.settings,
            problems: &p.problems,
        }
    }
}

#[derive(Serialize)]
pub(crate) struct CheckJson<'c> {
    id: &'c str,
    status: &'c str,
    text: &'c str,
    hint: &'c str,
}

impl<'c> From<&'c DoctorCheck> for CheckJson<'c> {
    fn from(c: &'c DoctorCheck) -> Self {
        Self { id: &c.id, status: &c.status, text: &c.text, hint: &c.hint }
    }
}

/// What `ctl add` made.
#[derive(Serialize)]
pub(crate) struct AddedJson<'a> {
    name: &'a str,
    wrote: &'a str,
    tunnels: &'a [&'a str],
    checks: Vec<CheckJson<'a>>,
}

impl<'a> AddedJson<'a> {
    pub(crate) fn new(
        name: &'a str,
        wrote: &'a str,
        tunnels: &'a [&'a str],
        checks: &'a [DoctorCheck],
    ) -> Self {
        Self { name, wrote, tunnels, checks: checks.iter().map(CheckJson::from).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fixtures;

    /// Whoever changes these keys must think about [`SCHEMA`].
    #[test]
    fn a_connections_keys_are_the_schemas() {
        let (connection, failed) = (fixtures::connected(), fixtures::failed());
        let text = document("connection", &ConnectionJson::new(&connection, Some(Traffic::default())));
        assert_eq!(
            text,
            r#"{"connection":{"addresses":["172.23.91.1/32","fd00:9::7/128"],"children":[{"esp_suite":"aes256gcm16","local":["172.23.91.1/32"],"mode":"tunnel","name":"","remote":["0.0.0.0/0"]}],"dns":["10.0.0.53"],"dns_domains":[],"encapsulated":true,"esp_suite":"aes256gcm16","gateway":"vpn.example.com","ike_suite":"aes256gcm16-prfsha256-x25519","interface":"adit0","last_error":null,"legacy":[],"local_endpoint":"192.0.2.7:4500","local_identity":"alice@example.com","moves":[],"name":"corp","next_rekey":1795178407,"path":"/org/adit1/connection/7","rekeys":2,"remote_endpoint":"198.51.100.1:4500","remote_identity":"vpn.example.com","resumed":false,"role":"client","routes":["0.0.0.0/0","::/0"],"server":"vpn.example.com","since":1795174807,"state":"connected","step":"established","traffic":{"bytes_in":0,"bytes_out":0,"packets_in":0,"packets_out":0},"tried":[],"tunnel":"ikev2","uplink":""},"schema":1}"#
        );
        let text = document("connection", &ConnectionJson::new(&failed, None));
        assert!(text.contains(
            r#""last_error":{"about":"home-office","code":"server-unreachable","exit_status":13,"hint":"ctl doctor","peer":null,"step":"ike-sa-init","text":"the server does not answer","windows":["809"]}"#
        ));
    }

    #[test]
    fn an_event_is_one_flat_line() {
        let event = Event::State { old: "a".into(), new: "b".into(), reason: String::new() };
        let line = EventLine { schema: SCHEMA, at: 1, path: "/x", name: "corp", event: &event };
        assert_eq!(
            serde_json::to_string(&line).unwrap(),
            r#"{"schema":1,"at":1,"path":"/x","name":"corp","event":"state","old":"a","new":"b","reason":""}"#
        );
    }
}
