//! `docs/errors.md`: every failure that there is, what it means, and what to look at. The page is this table, written out.

use adit_core::{FailureCode, Step, WindowsError, windows_errors};

use crate::exit::Status;

use FailureCode as C;

/// What each failure means, and what to look at where the failure itself says nothing better.
const TABLE: &[(FailureCode, &str, &str)] = &[
    (
        C::AuthenticationFailed,
        "The server did not accept who we are, or could not prove who it is, by pre-shared key, name or password.",
        "The line `peer` has the server's own word. Check `user`, `password-file`, `psk-file` and `local-id`, and look into \
             the server's log: it knows which of them was wrong, and keeps it from strangers.",
    ),
    (
        C::CertificateUntrusted,
        "The server's certificate does not lead to an authority that is trusted here.",
        "Put the authority's certificate (from whoever runs the server) into `/etc/adit/certs`, and name it in `ca`. Nothing \
             turns the check off.",
    ),
    (
        C::CertificateName,
        "The server's certificate is for another name than the one that was dialled.",
        "Dial the name that is in the certificate, or say it in `remote-id`.",
    ),
    (
        C::CertificateExpired,
        "The server's certificate, or one of its chain, is outside its dates.",
        "Whoever runs the server has to renew it. If it is new, look at this host's clock: `timedatectl`.",
    ),
    (
        C::CertificateRevoked,
        "The server's certificate, or one of its chain, has been revoked.",
        "Do not go on: ask whoever runs the server.",
    ),
    (
        C::CertificateUnusable,
        "A certificate may not be used for this (its usages, its constraints), or is malformed.",
        "The text says what is wrong with it. A server's needs the extended key usage serverAuth or IKE's own.",
    ),
    (
        C::NameUnresolved,
        "The server's name has no address, or nobody answered who was asked for it.",
        "`getent ahosts NAME` asks as Adit does. While a full tunnel blocks, only addresses that are known are tried.",
    ),
    (
        C::ServerUnreachable,
        "The server does not answer at all.",
        "A firewall on the way, or nothing that listens: IKEv2 and L2TP need UDP 500 and 4500, SSTP TCP 443, PPTP TCP 1723 and \
             GRE (IP protocol 47). Where only HTTPS gets through, SSTP does. `ctl doctor NAME` tells which of them answer, and what \
             on the way does not let them through.",
    ),
    (
        C::ProposalMismatch,
        "There is no set of algorithms, or no way to log in, that both ends accept.",
        "The text has what was offered and what is allowed, and the line to change: `ike`, `esp`, `ppp-auth`, `eap-methods`, or \
             `legacy = true` where the server has nothing better.",
    ),
    (
        C::TrafficSelectors,
        "The server does not carry what was asked for, or wants another mode.",
        "Compare `remote-subnets`, `local-subnets` and `mode` with the server's configuration.",
    ),
    (
        C::NoAddress,
        "The server has no address for us, or none was free.",
        "Look at the server's pool, and at `addresses` in the profile.",
    ),
    (
        C::PeerMisbehaved,
        "The peer broke the protocol.",
        "The text says how. If the peer is a known product, report it, with `journalctl -u aditd`.",
    ),
    (
        C::PeerClosed,
        "The peer ended the connection.",
        "Its reason is in the line `peer`, if it gave one; its log knows more.",
    ),
    (
        C::PeerLost,
        "The peer stopped answering.",
        "The way to it is broken, or it is gone. A connection that was up is dialled anew by itself.",
    ),
    (C::PeerBusy, "The peer has no room, or asked to come back later.", "Try again in a minute."),
    (
        C::KernelUnsupported,
        "This host's kernel lacks something.",
        "`ctl doctor` names the module and how to get it.",
    ),
    (
        C::KernelRefused,
        "This host's kernel refused.",
        "`ctl doctor` looks at rights and limits; the text has the kernel's own words.",
    ),
    (
        C::ConfigurationInvalid,
        "The profile or `server.toml` has a mistake.",
        "Each mistake is shown with its file, line and column, and what is allowed there.",
    ),
    (
        C::SecretExposed,
        "A file with a secret can be read by others than root and the daemon.",
        "The text has the command: `chown root:adit FILE && chmod 0640 FILE`.",
    ),
    (
        C::NoSecret,
        "A secret is needed and nobody gave it.",
        "`ctl up` asks at a terminal; elsewhere give it by `--password-fd`, have `ctl agent` run, or put it where `password-file` names it (`ctl password NAME`).",
    ),
    (
        C::NotFound,
        "There is no such profile or connection.",
        "`ctl list` has the profiles, `ctl status` the connections.",
    ),
    (
        C::NotAuthorized,
        "You may not do this.",
        "Root and members of the group `adit` may: `adduser NAME adit`.",
    ),
    (C::TimedOut, "The time of `--timeout` passed.", "The attempt may still go on: `ctl status NAME`."),
    (
        C::Idle,
        "Nothing went through it for as long as `idle` lets it be so.",
        "Nothing is wrong: `ctl up` raises it again.",
    ),
    (C::Cancelled, "Somebody took it down.", "Nothing is wrong."),
    (C::Internal, "A defect in Adit.", "Report it, with `journalctl -u aditd`."),
];

/// Windows' numbers in words: `error 691 (a password), 13801 (IKEv2)`.
pub(crate) fn numbers(numbers: &[WindowsError]) -> String {
    let one = |(number, what): &WindowsError| match what.is_empty() {
        true => (*number).to_owned(),
        false => format!("{number} ({what})"),
    };
    format!("error {}", numbers.iter().map(one).collect::<Vec<_>>().join(", "))
}

/// The page.
pub(crate) fn page() -> String {
    let mut page = "# Errors\n\nEvery failure has a code, which is stable: `ctl` shows it, ends with its exit status, and has it in `--json`; \
                    D-Bus has it in\n`LastError` and in the names of its errors. This page is written by `ctl errors-page`.\n"
        .to_owned();
    for (code, meaning, advice) in TABLE {
        page.push_str(&format!("\n## {code}\n\n{meaning} {advice}\n\nExit status {}.", Status::of(*code).0));
        let mut known: Vec<WindowsError> = Vec::new();
        for step in Step::ALL {
            for number in windows_errors(*code, *step) {
                if !known.contains(number) {
                    known.push(*number);
                }
            }
        }
        if !known.is_empty() {
            page.push_str(&format!(" On Windows: {}.", numbers(&known)));
        }
        page.push('\n');
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_is_told_of_once() {
        assert_eq!(TABLE.iter().map(|(code, ..)| *code).collect::<Vec<_>>(), FailureCode::ALL);
    }

    #[test]
    fn the_page_is_this_table() {
        assert!(
            include_str!("../../docs/errors.md") == page(),
            "docs/errors.md is of before: cargo run -p ctl -- errors-page > docs/errors.md"
        );
    }
}
