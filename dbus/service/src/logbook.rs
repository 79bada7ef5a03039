//! What happened to connections lately, by their profile's name, for whoever asks afterwards: it outlives the connection, and
//! not the daemon. The journal has everything.

use std::collections::{BTreeMap, VecDeque};

use adit_core::Failure;
use adit_dbus_api::LogEntry;

use crate::clock;
use crate::registry::{ConnectionId, State};

/// Lines that are kept of a name.
const LINES: usize = 200;
/// Names of which lines are kept: the one that was heard of last longest ago goes.
const NAMES: usize = 64;
/// Characters that are kept of a text, much of which peers may have a say in.
const LONGEST: usize = 1024;

/// Something that happened.
pub(crate) enum Line<'l> {
    /// A step.
    Progress { step: &'l str, text: &'l str },
    /// It passed to another state.
    State { new: State, reason: &'l str, failure: Option<&'l Failure> },
    /// The peer does not have its keys replaced.
    RekeyRefused(&'l Failure),
}

/// The last lines of each name.
#[derive(Default)]
pub(crate) struct Logbook {
    last: u64,
    names: BTreeMap<String, VecDeque<LogEntry>>,
}

impl Logbook {
    /// Adds a line.
    pub(crate) fn write(&mut self, id: ConnectionId, name: &str, line: Line<'_>) {
        self.last += 1;
        let empty = LogEntry {
            sequence: self.last,
            at: clock::wall().0,
            connection: id.0,
            event: String::new(),
            step: String::new(),
            reason: String::new(),
            text: String::new(),
            peer: String::new(),
            hint: String::new(),
        };
        let entry = match line {
            Line::Progress { step, text } => {
                LogEntry { event: "progress".into(), step: step.into(), text: kept(text), ..empty }
            }
            Line::RekeyRefused(why) => of(why, LogEntry { event: "rekey-refused".into(), ..empty }),
            Line::State { new, reason, failure } => {
                let entry = LogEntry { event: new.as_str().into(), reason: kept(reason), ..empty };
                match failure {
                    Some(why) => of(why, entry),
                    None => entry,
                }
            }
        };
        if !self.names.contains_key(name) && self.names.len() >= NAMES {
            self.forget_one();
        }
        let lines = self.names.entry(name.to_owned()).or_default();
        if lines.len() == LINES {
            lines.pop_front();
        }
        lines.push_back(entry);
    }

    /// The lines of a name that are later than `after`, oldest first.
    pub(crate) fn read(&self, name: &str, after: u64) -> Vec<LogEntry> {
        let lines = self.names.get(name).into_iter().flatten();
        lines.filter(|entry| entry.sequence > after).cloned().collect()
    }

    fn forget_one(&mut self) {
        let newest = |lines: &VecDeque<LogEntry>| lines.back().map_or(0, |entry| entry.sequence);
        let oldest = self.names.iter().min_by_key(|(_, lines)| newest(lines)).map(|(name, _)| name.clone());
        oldest.iter().for_each(|name| {
            self.names.remove(name);
        });
    }
}

fn of(why: &Failure, entry: LogEntry) -> LogEntry {
    LogEntry {
        step: why.step.as_str().into(),
        reason: why.code.as_str().into(),
        text: kept(&why.text),
        peer: kept(why.peer.as_deref().unwrap_or_default()),
        hint: kept(why.hint.as_deref().unwrap_or_default()),
        ..entry
    }
}

fn kept(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use adit_core::{FailureCode, Step};

    use super::*;

    #[test]
    fn what_is_kept_is_bounded_whoever_writes() {
        let mut log = Logbook::default();
        let long = "x".repeat(5000);
        for _ in 0..1000 {
            log.write(ConnectionId(1), "corp", Line::Progress { step: "resolve", text: &long });
        }
        let all = log.read("corp", 0);
        assert_eq!((all.len(), all[0].text.len(), all[199].sequence), (LINES, LONGEST, 1000));
        for n in 0..1000 {
            let new = Line::State { new: State::Connecting, reason: "", failure: None };
            log.write(ConnectionId(n), &format!("p{n}"), new);
        }
        assert_eq!(log.names.len(), NAMES);
        assert!(log.read("corp", 0).is_empty() && log.read("p999", 0).len() == 1);
    }

    #[test]
    fn a_failure_is_kept_with_what_the_peer_said_and_what_to_do() {
        let mut log = Logbook::default();
        let why = Failure::new(FailureCode::AuthenticationFailed, Step::Authenticate, "refused")
            .said("AUTHENTICATION_FAILED")
            .hint("check user");
        log.write(ConnectionId(1), "corp", Line::Progress { step: "resolve", text: "resolving" });
        log.write(
            ConnectionId(1),
            "corp",
            Line::State { new: State::Failed, reason: "", failure: Some(&why) },
        );
        let all = log.read("corp", 1);
        assert_eq!(all.len(), 1);
        let LogEntry { event, step, reason, text, peer, hint, .. } = &all[0];
        assert_eq!(
            [event, step, reason, text, peer, hint].map(String::as_str),
            [
                "failed",
                "authenticate",
                "authentication-failed",
                "refused",
                "AUTHENTICATION_FAILED",
                "check user"
            ]
        );
    }
}
