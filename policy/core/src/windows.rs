//! What Windows calls a failure, for whoever searches for its number.

use crate::failure::{FailureCode, Step};

/// A number of Windows' remote access, and of which tunnel it is said; empty: of each.
///
/// Numbers are as Windows shows them: decimal those of RAS and IPsec, hexadecimal those of certificates (SSTP).
pub type WindowsError = (&'static str, &'static str);

/// The numbers that Windows has for a failure at a step. Empty: it has none.
#[must_use]
pub const fn windows_errors(code: FailureCode, step: Step) -> &'static [WindowsError] {
    use FailureCode as C;
    match (code, step) {
        // "The user name and password combination is not recognized"; "IKE authentication credentials are unacceptable"; "the
        // security layer encountered a processing error".
        (C::AuthenticationFailed, _) => {
            &[("691", "a password"), ("13801", "IKEv2"), ("789", "L2TP, the pre-shared key")]
        }
        (C::CertificateUntrusted, _) => &[("13801", "IKEv2"), ("0x800B0109", "SSTP")],
        (C::CertificateName, _) => &[("13801", "IKEv2"), ("0x800B010F", "SSTP")],
        (C::CertificateExpired, _) => &[("13801", "IKEv2"), ("0x800B0101", "SSTP")],
        (C::CertificateRevoked, _) => &[("13801", "IKEv2"), ("0x80092010", "SSTP")],
        (C::CertificateUnusable, _) => {
            &[("13801", "IKEv2"), ("13806", "IKEv2, one's own"), ("0x800B0110", "SSTP")]
        }
        (C::NameUnresolved, _) => &[("868", "")],
        (C::ServerUnreachable, Step::IkeInit) => &[("809", "")],
        // The control connection stands, and GRE does not get through.
        (C::ServerUnreachable, Step::Link) => &[("806", "PPTP")],
        (C::ServerUnreachable, _) => &[("800", ""), ("809", "IKEv2, L2TP")],
        (C::ProposalMismatch, Step::Encryption) => &[("742", "")],
        (C::ProposalMismatch, Step::Link) => &[("812", "")],
        (C::ProposalMismatch, _) => &[("13868", "IKEv2"), ("788", "L2TP"), ("812", "a way to log in")],
        (C::NoAddress, _) => &[("720", "")],
        (C::PeerClosed, Step::Established | Step::Close) => &[("629", "")],
        (C::PeerLost, _) => &[("829", "")],
        (C::PeerBusy, _) => &[("807", "")],
        (C::KernelUnsupported, Step::Encryption) => &[("741", "")],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_depends_on_the_step_where_windows_says_so() {
        assert_eq!(windows_errors(FailureCode::ServerUnreachable, Step::IkeInit), [("809", "")]);
        assert_eq!(windows_errors(FailureCode::ServerUnreachable, Step::Link), [("806", "PPTP")]);
        assert_eq!(windows_errors(FailureCode::Internal, Step::Network), []);
    }
}
