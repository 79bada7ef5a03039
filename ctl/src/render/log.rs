use adit_dbus_api::LogEntry;

use super::human::date;
use super::{Palette, clean, wrap};

/// Columns that the time takes, with the spaces behind it.
const TIME: usize = 25;

/// A line: when, what; of a failure, what the peer said and what to do next below.
pub(crate) fn log_entry(entry: &LogEntry, palette: Palette, width: usize) -> String {
    let at = palette.dim(date(entry.at));
    let (lead, shown) = match entry.event.as_str() {
        "progress" => (0, String::new()),
        "rekey-refused" => (6, palette.yellow("keys: ")),
        state if entry.text.is_empty() && entry.reason.is_empty() => (0, palette.state(state, clean(state))),
        state if entry.text.is_empty() => {
            return format!("{at}  {} ({})\n", palette.state(state, clean(state)), clean(&entry.reason));
        }
        state => {
            let head = format!("{} ({}): ", clean(state), clean(&entry.reason));
            (head.chars().count(), palette.state(state, head))
        }
    };
    let text = wrap(&clean(&entry.text), TIME.saturating_add(lead), TIME, width);
    let mut out = format!("{at}  {shown}{text}\n");
    for (label, text) in [("peer", &entry.peer), ("next", &entry.hint)] {
        if !text.is_empty() {
            let indent = TIME.saturating_add(6);
            let text = wrap(&clean(text), indent, indent, width);
            out.push_str(&format!("{}{}{text}\n", " ".repeat(TIME), palette.dim(format!("{label:<6}"))));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(event: &str, reason: &str, text: &str) -> LogEntry {
        LogEntry {
            sequence: 1,
            at: 1_795_174_807,
            connection: 7,
            event: event.into(),
            step: "authenticate".into(),
            reason: reason.into(),
            text: text.into(),
            peer: String::new(),
            hint: String::new(),
        }
    }

    #[test]
    fn lines_are_told_at_80_and_200_columns() {
        let failed = LogEntry {
            peer: "AUTHENTICATION_FAILED".into(),
            hint: "check user and password-file, and look into the server's log".into(),
            ..entry("failed", "authentication-failed", "the server did not accept who we are")
        };
        let all = [
            entry("connecting", "", ""),
            entry("progress", "", "IKEv2: resolving vpn.example.com"),
            failed,
            entry("disconnecting", "asked to", ""),
        ];
        let told = |colour: bool, width: usize| -> String {
            all.iter().map(|entry| log_entry(entry, Palette { colour }, width)).collect()
        };
        assert_eq!(
            told(false, 80),
            "\
2026-11-20 11:40:07 UTC  connecting
2026-11-20 11:40:07 UTC  IKEv2: resolving vpn.example.com
2026-11-20 11:40:07 UTC  failed (authentication-failed): the server did not
                         accept who we are
                         peer  AUTHENTICATION_FAILED
                         next  check user and password-file, and look into the
                               server's log
2026-11-20 11:40:07 UTC  disconnecting (asked to)
"
        );
        assert_eq!(
            told(false, 200),
            "\
2026-11-20 11:40:07 UTC  connecting
2026-11-20 11:40:07 UTC  IKEv2: resolving vpn.example.com
2026-11-20 11:40:07 UTC  failed (authentication-failed): the server did not accept who we are
                         peer  AUTHENTICATION_FAILED
                         next  check user and password-file, and look into the server's log
2026-11-20 11:40:07 UTC  disconnecting (asked to)
"
        );
        let coloured = told(true, 80);
        assert!(coloured.contains("\x1b[31mfailed (authentication-failed): \x1b[0mthe server did not"));
        assert!(coloured.starts_with("\x1b[2m2026-11-20 11:40:07 UTC\x1b[0m  \x1b[33mconnecting\x1b[0m\n"));
    }

    #[test]
    fn what_a_peer_says_cannot_drive_the_terminal() {
        let hostile = LogEntry { peer: "\x1b]0;owned\x07".into(), ..entry("failed", "x\x1b", "a\x1bb") };
        let text = log_entry(&hostile, Palette { colour: false }, 80);
        assert!(!text.contains('\x1b') && !text.contains('\x07'), "{text:?}");
    }
}
