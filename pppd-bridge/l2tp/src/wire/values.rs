use core::fmt;

use adit_core::DecodeError;

/// Strings that are kept and written are at most this long, in octets: what is longer is cut off.
const LONGEST_TEXT: usize = 255;

/// Why a tunnel or a session ends (§4.4.2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResultCode {
    /// Result Code: what it means depends on whether a tunnel or a session ends.
    pub result: u16,
    /// Error Code, where there is one.
    pub error: Option<u16>,
    /// What it says about it, for people.
    pub message: String,
}

impl ResultCode {
    /// One without words.
    #[must_use]
    pub const fn new(result: u16, error: Option<u16>) -> Self {
        Self { result, error, message: String::new() }
    }

    pub(super) fn parse(value: &[u8]) -> Result<Self, DecodeError> {
        let Some((result, rest)) = value.split_first_chunk::<2>() else {
            return Err(DecodeError::new(0, "a Result Code has two octets at least"));
        };
        let (error, message) = match rest.split_first_chunk::<2>() {
            Some((error, message)) => (Some(u16::from_be_bytes(*error)), message),
            None => (None, &[][..]),
        };
        Ok(Self { result: u16::from_be_bytes(*result), error, message: text(message) })
    }

    pub(super) fn emit(&self) -> Vec<u8> {
        let mut out = self.result.to_be_bytes().to_vec();
        // Words stand behind an Error Code only.
        if let Some(error) = self.error {
            out.extend(error.to_be_bytes());
            out.extend(written(&self.message));
        }
        out
    }
}

/// What an LAC has negotiated with the host that it serves (§4.4.5). Nothing of it is believed here: PPP begins anew.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Proxy {
    /// Initial Received LCP CONFREQ.
    pub initial_lcp: Option<Vec<u8>>,
    /// Last Sent LCP CONFREQ.
    pub last_sent_lcp: Option<Vec<u8>>,
    /// Last Received LCP CONFREQ.
    pub last_received_lcp: Option<Vec<u8>>,
    /// Proxy Authen Type: 1 a password in clear, 2 CHAP, 3 PAP, 4 none, 5 MS-CHAPv1.
    pub authen_type: Option<u16>,
    /// Proxy Authen Name.
    pub authen_name: Option<Vec<u8>>,
    /// Proxy Authen Challenge.
    pub authen_challenge: Option<Vec<u8>>,
    /// Proxy Authen ID.
    pub authen_id: Option<u16>,
    /// Proxy Authen Response: with PAP a password.
    pub authen_response: Option<Vec<u8>>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("authen_type", &self.authen_type).finish_non_exhaustive()
    }
}

pub(super) fn u16_of(value: &[u8]) -> Result<u16, DecodeError> {
    fixed(value).map(u16::from_be_bytes)
}

pub(super) fn u32_of(value: &[u8]) -> Result<u32, DecodeError> {
    fixed(value).map(u32::from_be_bytes)
}

pub(super) fn fixed<const N: usize>(value: &[u8]) -> Result<[u8; N], DecodeError> {
    <[u8; N]>::try_from(value).map_err(|_| DecodeError::new(0, "an AVP's value has another length"))
}

/// What may be shown of it: no control characters, no more than is written again.
pub(super) fn text(value: &[u8]) -> String {
    let mut text: String = String::from_utf8_lossy(value).chars().filter(|c| !c.is_control()).collect();
    text.truncate(text.floor_char_boundary(LONGEST_TEXT));
    text
}

pub(super) fn written(text: &str) -> Vec<u8> {
    let cut = text.floor_char_boundary(LONGEST_TEXT);
    text.as_bytes().get(..cut).unwrap_or_default().to_vec()
}
