//! What a PPP peer proves itself by, as attributes (RFC 2865 §2.2, RFC 2548 §2.3).

use super::attributes::{Attribute, Vendor, attribute};
use crate::mschap::Challenge;

/// Of MS-CHAP2-Response: Ident, Flags, Peer-Challenge, Reserved, Response.
const CHAP2_RESPONSE_LEN: usize = 2 + 16 + 8 + 24;

/// MS-CHAPv2: our challenge, the peer's, and the peer's proof. Ident only comes back in MS-CHAP2-Success: it is 0.
#[must_use]
pub fn ms_chap_v2(challenge: &Challenge, peer: &Challenge, nt_response: &[u8; 24]) -> Vec<Attribute> {
    let mut response = Vec::with_capacity(CHAP2_RESPONSE_LEN);
    response.extend([0, 0]);
    response.extend(peer);
    response.extend([0; 8]);
    response.extend(nt_response);
    vec![
        (attribute::VENDOR_SPECIFIC, Vendor::CHAP_CHALLENGE.wrap(challenge)),
        (attribute::VENDOR_SPECIFIC, Vendor::CHAP2_RESPONSE.wrap(&response)),
    ]
}

/// CHAP with MD5: the identifier of our Challenge, the challenge, and the digest.
#[must_use]
pub fn chap_md5(identifier: u8, challenge: &[u8], response: &[u8]) -> Vec<Attribute> {
    let mut password = vec![identifier];
    password.extend_from_slice(response);
    vec![(attribute::CHAP_PASSWORD, password), (attribute::CHAP_CHALLENGE, challenge.to_vec())]
}

/// What the authenticator's Success says: MS-CHAP2-Success without its Ident, if it is a proof at all (`S=` and 40 digits).
#[must_use]
pub fn success_message(chap2_success: &[u8]) -> Option<&[u8]> {
    let message = chap2_success.get(1..)?;
    let digits = message.strip_prefix(b"S=")?.get(..40)?;
    digits.iter().all(u8::is_ascii_hexdigit).then_some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 2548 §2.3.2: Vendor-Type 25, Vendor-Length 52, Ident, Flags, the rest.
    #[test]
    fn ms_chap_v2_is_laid_out_as_the_rfc_says() {
        let [challenge, response] = &ms_chap_v2(&[1; 16], &[2; 16], &[3; 24])[..] else { panic!() };
        assert_eq!(challenge.1[..6], [0, 0, 1, 55, 11, 18]);
        assert_eq!(challenge.1[6..], [1; 16]);
        assert_eq!(response.1[..8], [0, 0, 1, 55, 25, 52, 0, 0]);
        assert_eq!(response.1[8..24], [2; 16]);
        assert_eq!(response.1[24..32], [0; 8]);
        assert_eq!(response.1[32..], [3; 24]);
    }

    #[test]
    fn chap_md5_names_its_challenge() {
        let attributes = chap_md5(7, b"challenge", &[9; 16]);
        assert_eq!(attributes[0], (3, [&[7][..], &[9; 16]].concat()));
        assert_eq!(attributes[1], (60, b"challenge".to_vec()));
    }

    #[test]
    fn what_is_no_proof_is_no_success() {
        let proof = [b"\0S=".as_slice(), &[b'A'; 40], b" M=Hello"].concat();
        assert_eq!(success_message(&proof), Some(&proof[1..]));
        for not in [&b""[..], b"\0", b"\0Welcome", b"\0S=1234", &proof[1..]] {
            assert_eq!(success_message(not), None, "{not:?}");
        }
    }
}
