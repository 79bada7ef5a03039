use adit_core::{Failure, windows_errors};

use super::{Palette, clean, wrap};
use crate::exit::{Status, word};

/// What happened, at which step, what the peer said, what it means for a script, and what to type next.
pub(crate) fn failure(
    about: &str,
    failure: &Failure,
    status: Status,
    palette: Palette,
    width: usize,
) -> String {
    let head = if about.is_empty() { "ctl: ".to_owned() } else { format!("ctl: {}: ", clean(about)) };
    let first = head.chars().count();
    let mut out = format!("{}{}\n", palette.red(&head), wrap(&clean(&failure.text), first, 5, width));
    let mut line = |label: &str, text: &str| {
        out.push_str(&format!(
            "  {}{}\n",
            palette.dim(format!("{label:<6}")),
            wrap(&clean(text), 8, 8, width)
        ));
    };
    if !about.is_empty() {
        line("step", failure.step.as_str());
    }
    if let Some(peer) = &failure.peer {
        line("peer", peer);
    }
    line("code", &format!("{} (exit status {})", word(failure.code, status), status.0));
    if let Some(windows) = windows(failure, status) {
        line("also", &windows);
    }
    if let Some(hint) = &failure.hint {
        line("next", hint);
    }
    out
}

/// What Windows calls it, for whoever searches for that; nothing where no daemon was asked.
fn windows(failure: &Failure, status: Status) -> Option<String> {
    let numbers = windows_errors(failure.code, failure.step);
    if numbers.is_empty() || status == Status::NOT_RUNNING {
        return None;
    }
    Some(format!("{} on Windows", crate::errors::numbers(numbers)))
}

#[cfg(test)]
mod tests {
    use adit_core::{FailureCode, Step};

    use super::*;

    #[test]
    fn everything_is_said_within_80_columns() {
        let text = "the server did not accept who we are: the identity alice@example.com is unknown to it, or the \
                    PSK is another one";
        let value = Failure::new(FailureCode::AuthenticationFailed, Step::Authenticate, text)
            .said("AUTHENTICATION_FAILED")
            .hint("check local-id and psk-file in /etc/adit/profiles/corp.toml, then: ctl up corp");
        let plain = failure("corp", &value, Status::of(value.code), Palette { colour: false }, 80);
        assert_eq!(
            plain,
            "ctl: corp: the server did not accept who we are: the identity alice@example.com\n     \
             is unknown to it, or the PSK is another one\n  \
             step  authenticate\n  \
             peer  AUTHENTICATION_FAILED\n  \
             code  authentication-failed (exit status 11)\n  \
             also  error 691 (a password), 13801 (IKEv2), 789 (L2TP, the pre-shared key) on\n        Windows\n  \
             next  check local-id and psk-file in /etc/adit/profiles/corp.toml, then: ctl\n        up corp\n"
        );
        assert!(plain.lines().all(|l| l.chars().count() <= 80));
        let coloured = failure("corp", &value, Status::of(value.code), Palette { colour: true }, 80);
        assert!(coloured.starts_with("\x1b[31mctl: corp: \x1b[0mthe server"));
    }

    #[test]
    fn what_a_peer_says_cannot_drive_the_terminal() {
        let value = Failure::new(FailureCode::PeerClosed, Step::Close, "closed").said("\x1b]0;owned\x07");
        let text = failure("corp", &value, Status::ACTIVATION, Palette { colour: false }, 80);
        assert!(!text.contains('\x1b') && !text.contains('\x07'));
    }
}
