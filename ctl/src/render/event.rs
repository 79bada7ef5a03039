use serde::Serialize;

use super::{Palette, clean, clock};

/// Something that happened, as `ctl monitor` tells it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum Event {
    /// A step.
    Progress { step: String, text: String },
    /// A connection's state changed; `old` is empty for what is there at the start.
    State { old: String, new: String, reason: String },
    /// A profile or connection appeared.
    Added { what: &'static str },
    /// A profile or connection went away.
    Removed { what: &'static str },
}

/// A line: when, of what, what. `at` is in seconds since 1970-01-01 UTC.
pub(crate) fn event(at: u64, name: &str, event: &Event, palette: Palette) -> String {
    let text = match event {
        Event::Progress { text, .. } => clean(text),
        Event::State { old, new, .. } if old.is_empty() => format!("is {}", state(new, palette)),
        Event::State { old, new, reason } if reason.is_empty() => {
            format!("{} → {}", clean(old), state(new, palette))
        }
        Event::State { old, new, reason } => {
            format!("{} → {} ({})", clean(old), state(new, palette), clean(reason))
        }
        Event::Added { what } => format!("new {what}"),
        Event::Removed { what } => format!("{what} gone"),
    };
    format!("{}  {}  {text}", palette.dim(clock(at)), palette.bold(format!("{:<12}", clean(name))))
}

fn state(word: &str, palette: Palette) -> String {
    palette.state(word, clean(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_lines() {
        let plain = Palette { colour: false };
        let progress =
            Event::Progress { step: "resolve".into(), text: "IKEv2: resolving vpn.example.com".into() };
        assert_eq!(
            event(1_795_174_807, "corp", &progress, plain),
            "11:40:07  corp          IKEv2: resolving vpn.example.com"
        );
        let state = Event::State {
            old: "connecting".into(),
            new: "failed".into(),
            reason: "authentication-failed".into(),
        };
        assert_eq!(
            event(0, "corp", &state, plain),
            "00:00:00  corp          connecting → failed (authentication-failed)"
        );
    }
}
