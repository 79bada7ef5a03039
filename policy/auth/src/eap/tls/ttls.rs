//! AVPs inside of TTLS (RFC 5281 §10, §11): Diameter's form, RADIUS's numbers.

use adit_core::{DecodeError, Secret};
use zeroize::Zeroizing;

/// User-Name.
pub(super) const USER_NAME: Kind = (0, 1);
/// User-Password.
pub(super) const USER_PASSWORD: Kind = (0, 2);
/// EAP-Message.
pub(super) const EAP_MESSAGE: Kind = (0, 79);
/// MS-CHAP-Error.
pub(super) const MS_CHAP_ERROR: Kind = (MICROSOFT, 2);
/// MS-CHAP-Challenge.
pub(super) const MS_CHAP_CHALLENGE: Kind = (MICROSOFT, 11);
/// MS-CHAP2-Response.
pub(super) const MS_CHAP2_RESPONSE: Kind = (MICROSOFT, 25);
/// MS-CHAP2-Success.
pub(super) const MS_CHAP2_SUCCESS: Kind = (MICROSOFT, 26);

const MICROSOFT: u32 = 311;
const HAS_VENDOR: u8 = 0x80;
const MANDATORY: u8 = 0x40;

/// Vendor (0: none) and code.
pub(super) type Kind = (u32, u32);

/// An AVP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Avp<'a> {
    pub(super) kind: Kind,
    /// Whoever does not know it must refuse the whole (RFC 5281 §10.1).
    pub(super) mandatory: bool,
    pub(super) value: &'a [u8],
}

impl Avp<'_> {
    /// Whether nobody may pass over it and we don't know it.
    pub(super) fn is_strange(&self) -> bool {
        let known = [USER_NAME, USER_PASSWORD, EAP_MESSAGE, MS_CHAP_CHALLENGE, MS_CHAP2_RESPONSE];
        self.mandatory && !known.contains(&self.kind)
    }
}

/// Reads all AVPs.
pub(super) fn read(mut bytes: &[u8]) -> Result<Vec<Avp<'_>>, DecodeError> {
    let total = bytes.len();
    let mut out = Vec::new();
    while !bytes.is_empty() {
        let wrong = |why| DecodeError::new(total.saturating_sub(bytes.len()), why);
        let (head, rest) =
            bytes.split_first_chunk::<8>().ok_or_else(|| wrong("an AVP has a header of eight octets"))?;
        let [c0, c1, c2, c3, flags, l0, l1, l2] = *head;
        let length = usize::try_from(u32::from_be_bytes([0, l0, l1, l2])).unwrap_or(usize::MAX);
        let body = length.checked_sub(8).and_then(|n| rest.get(..n));
        let mut value = body.ok_or_else(|| wrong("the AVP Length is not that of what came"))?;
        let mut vendor = 0;
        if flags & HAS_VENDOR != 0 {
            let (id, rest) =
                value.split_first_chunk::<4>().ok_or_else(|| wrong("a Vendor-ID has four octets"))?;
            (vendor, value) = (u32::from_be_bytes(*id), rest);
        }
        let kind = (vendor, u32::from_be_bytes([c0, c1, c2, c3]));
        out.push(Avp { kind, mandatory: flags & MANDATORY != 0, value });
        // Padded to four octets; the last one's padding may be missing.
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(out)
}

/// Writes AVPs, all mandatory.
pub(super) fn write(avps: &[(Kind, &[u8])]) -> Secret {
    let whole: usize = avps.iter().map(|(_, value)| value.len().saturating_add(16)).sum();
    let mut out = Vec::with_capacity(whole);
    for ((vendor, code), value) in avps {
        let header = if *vendor == 0 { 8 } else { 12 };
        let length = u32::try_from(value.len().saturating_add(header)).unwrap_or(u32::MAX);
        out.extend(code.to_be_bytes());
        let [_, low @ ..] = length.to_be_bytes();
        out.push(MANDATORY | if *vendor == 0 { 0 } else { HAS_VENDOR });
        out.extend(low);
        out.extend((*vendor != 0).then(|| vendor.to_be_bytes()).into_iter().flatten());
        out.extend_from_slice(value);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    Secret::new(out)
}

/// A User-Password with zeroes behind it, so that its length does not show (RFC 5281 §11.2.5).
pub(super) fn pad_password(password: &Secret) -> Zeroizing<Vec<u8>> {
    let mut padded = Zeroizing::new(Vec::with_capacity(password.len().next_multiple_of(16).max(16)));
    padded.extend_from_slice(password.expose());
    padded.resize(password.len().max(1).next_multiple_of(16), 0);
    padded
}

/// The other way round.
pub(super) fn unpad_password(padded: &[u8]) -> Secret {
    let end = padded.iter().rposition(|b| *b != 0).map_or(0, |last| last.saturating_add(1));
    Secret::from(padded.get(..end).unwrap_or_default())
}

/// An MS-CHAP2-Response (RFC 2548 §2.3.2): identifier, flags, Peer-Challenge, 8 reserved octets, Response.
pub(super) fn response(ident: u8, peer: &[u8; 16], nt_response: &[u8; 24]) -> Vec<u8> {
    let mut out = vec![ident, 0];
    out.extend(peer);
    out.extend([0; 8]);
    out.extend(nt_response);
    out
}

/// The other way round: identifier, Peer-Challenge, Response.
pub(super) fn read_response(value: &[u8]) -> Option<(u8, [u8; 16], [u8; 24])> {
    let ([ident, _flags], rest) = value.split_first_chunk::<2>()?;
    let (peer, rest) = rest.split_first_chunk::<16>()?;
    let (_reserved, rest) = rest.split_first_chunk::<8>()?;
    Some((*ident, *peer, rest.try_into().ok()?))
}
