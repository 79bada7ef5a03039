//! AUTH (RFC 7296 §2.15, RFC 7427, RFC 4754): what is signed, by which schemes, and what a received AUTH says.

use adit_core::{Failure, Identity, Secret, SignatureScheme};
use adit_isakmp::Payload;
use adit_isakmp::keys::{psk_auth, resume_auth, signed_octets};
use adit_isakmp::payload::{
    AuthMethod, Authentication, Certificate, CertificateEncoding, Eap, Identification,
};
use adit_isakmp::signature::{OUR_HASHES, hash_algorithm, schemes};

use crate::api::{Ask, LocalAuth, OwnChain, SignatureEncoding};
use crate::channel::Handshake;
use crate::explain;
use crate::state::{Cx, Role};

/// Authorities that one peer asks for. More are not looked at.
const MAX_AUTHORITIES: usize = 1000;

/// Certificates of one peer. More are refused, not cut off.
pub(crate) const MAX_CERTIFICATES: usize = 10;

/// What the side `who` signs or MACs, given its identity.
pub(crate) fn octets(cx: &Cx<'_>, hs: &Handshake, who: Role, id: &Identification) -> Secret {
    let (message, nonce, key) = match who {
        Role::Initiator => (&hs.message_i, &hs.nonce_r, &hs.keys.pi),
        Role::Responder => (&hs.message_r, &hs.nonce_i, &hs.keys.pr),
    };
    let octets = signed_octets(&*cx.shared.crypto, hs.suite.prf, message, nonce, key, &id.body());
    match hs.int_auth() {
        Some(int_auth) => Secret::new([octets.expose(), int_auth.expose()].concat()),
        None => octets,
    }
}

/// AUTH by a shared key.
pub(crate) fn by_key(cx: &Cx<'_>, hs: &Handshake, key: &Secret, octets: &Secret) -> Secret {
    psk_auth(&*cx.shared.crypto, hs.suite.prf, key, octets)
}

/// AUTH where a session is resumed (RFC 5723 §5.1), of the side `who`.
pub(crate) fn resumed(cx: &Cx<'_>, hs: &Handshake, who: Role, id: &Identification) -> Secret {
    let key = match who {
        Role::Initiator => &hs.keys.pi,
        Role::Responder => &hs.keys.pr,
    };
    resume_auth(&*cx.shared.crypto, hs.suite.prf, key, &octets(cx, hs, who, id))
}

/// What AUTH is made with after EAP (RFC 7296 §2.16).
pub(crate) enum EapKey {
    /// The method's key.
    // [7296:2.16-4]
    Msk(Secret),
    /// It has none: SK_pi and SK_pr.
    SkP,
}

impl EapKey {
    pub(crate) fn of(msk: Option<Secret>) -> Self {
        // [7296:2.16-5]
        msk.map_or(Self::SkP, Self::Msk)
    }

    /// The AUTH data of the side `who`.
    pub(crate) fn prove(&self, cx: &Cx<'_>, hs: &Handshake, who: Role, id: &Identification) -> Secret {
        let octets = octets(cx, hs, who, id);
        let key = match (self, who) {
            // [7296:2.16-3]
            (Self::Msk(msk), _) => msk,
            (Self::SkP, Role::Initiator) => &hs.keys.pi,
            (Self::SkP, Role::Responder) => &hs.keys.pr,
        };
        by_key(cx, hs, key, &octets)
    }
}

/// The EAP payload of a packet, as the driver has it.
pub(crate) fn eap_payload(packet: &[u8]) -> Result<Payload, Failure> {
    let Some(([code, identifier, _, _], data)) = packet.split_first_chunk::<4>() else {
        return Err(explain::unanswered(adit_core::Step::Authenticate));
    };
    Ok(Payload::Eap(Eap { code: *code, identifier: *identifier, data: data.to_vec() }))
}

/// The packet of an EAP payload.
pub(crate) fn eap_packet(eap: &Eap) -> Vec<u8> {
    let length = u16::try_from(eap.data.len().saturating_add(4)).unwrap_or(u16::MAX).to_be_bytes();
    [&[eap.code, eap.identifier][..], &length, &eap.data].concat()
}

/// The authorities that a message asks for a certificate of.
pub(crate) fn asked_authorities(payloads: &[Payload]) -> Vec<[u8; 20]> {
    let asked = payloads.iter().filter_map(|p| match p {
        Payload::CertReq(c) if c.encoding == CertificateEncoding::X509_SIGNATURE => Some(c.authorities()),
        _ => None,
    });
    asked.flatten().take(MAX_AUTHORITIES).collect()
}

/// A certificate of ours that the peer can use, and how its key signs for it.
struct Chosen {
    certificate: usize,
    schemes: Vec<SignatureScheme>,
    encoding: SignatureEncoding,
}

/// Chooses a certificate of ours, which is this IKE_SA's from then on: the question for a signature over `message`, and how
/// that is to be written.
pub(crate) fn ask_to_sign(
    own: &[OwnChain],
    hs: &mut Handshake,
    message: Secret,
) -> Result<(Ask, SignatureEncoding), Failure> {
    let Chosen { certificate, schemes, encoding } = choose(own, hs)?;
    hs.own = certificate;
    Ok((Ask::Sign { certificate, schemes, encoding, message }, encoding))
}

/// The first that the peer asks for; a peer may accept more than it names (RFC 7296 §3.7), so then the first.
fn choose(own: &[OwnChain], hs: &Handshake) -> Result<Chosen, Failure> {
    let mut refused = None;
    let mut usable = Vec::new();
    for (certificate, chain) in own.iter().enumerate() {
        match usable_schemes(&chain.schemes, hs.peer_hashes.as_deref()) {
            Ok((schemes, encoding)) => {
                let asked = chain.authorities.iter().any(|hash| hs.asked.contains(hash));
                usable.push((asked, Chosen { certificate, schemes, encoding }));
            }
            Err(why) => refused = refused.or(Some(why)),
        }
    }
    match usable.iter().position(|(asked, _)| *asked).or((!usable.is_empty()).then_some(0)) {
        Some(place) => Ok(usable.swap_remove(place).1),
        None => Err(refused.unwrap_or_else(explain::no_common_signature)),
    }
}

/// Which of our schemes the peer understands, and how the signature is to be written.
///
/// With SIGNATURE_HASH_ALGORITHMS: RFC 7427, by the hashes that it named. Without: the two ECDSA methods of RFC 4754,
/// which fix the hash. RSA without RFC 7427 is SHA-1, which we don't make.
pub(crate) fn usable_schemes(
    ours: &[SignatureScheme],
    peer_hashes: Option<&[u16]>,
) -> Result<(Vec<SignatureScheme>, SignatureEncoding), Failure> {
    // [7427:3-1]
    if let Some(hashes) = peer_hashes {
        // [7427:4-1]
        let usable: Vec<_> = ours.iter().copied().filter(|s| hashes.contains(&hash_algorithm(*s))).collect();
        if usable.is_empty() {
            return Err(explain::no_common_signature());
        }
        return Ok((usable, SignatureEncoding::Asn1));
    }
    let usable: Vec<_> = ours.iter().copied().filter(|s| fixed_method(*s).is_some()).collect();
    if usable.is_empty() {
        return Err(explain::sha1_only("the peer"));
    }
    Ok((usable, SignatureEncoding::Fixed))
}

const fn fixed_method(scheme: SignatureScheme) -> Option<AuthMethod> {
    match scheme {
        SignatureScheme::EcdsaP256Sha256 => Some(AuthMethod::ECDSA_P256_SHA256),
        SignatureScheme::EcdsaP384Sha384 => Some(AuthMethod::ECDSA_P384_SHA384),
        _ => None,
    }
}

/// The AUTH payload of a signature that the driver made.
pub(crate) fn signed(
    scheme: SignatureScheme,
    encoding: SignatureEncoding,
    signature: &[u8],
) -> Option<Authentication> {
    match encoding {
        SignatureEncoding::Asn1 => Authentication::digital_signature(scheme, signature).ok(),
        SignatureEncoding::Fixed => {
            fixed_method(scheme).map(|method| Authentication { method, data: signature.to_vec() })
        }
    }
}

/// A received signature, ready to be verified.
pub(crate) struct Signature {
    /// With ECDSA of RFC 7427 only its hash counts: the curve is the certificate's.
    pub(crate) scheme: SignatureScheme,
    pub(crate) encoding: SignatureEncoding,
    pub(crate) bytes: Vec<u8>,
}

/// What a received AUTH of a certificate's owner says. Only hashes that we announced are taken (RFC 7427 §4).
pub(crate) fn received(auth: &Authentication) -> Result<Signature, Failure> {
    let fixed =
        |scheme| Ok(Signature { scheme, encoding: SignatureEncoding::Fixed, bytes: auth.data.clone() });
    match auth.method {
        AuthMethod::DIGITAL_SIGNATURE => {
            let (identifier, signature) = auth
                .as_digital_signature()
                .map_err(|error| explain::misbehaved(adit_core::Step::Authenticate, error.to_string()))?;
            let scheme =
                schemes(identifier).iter().copied().find(|s| OUR_HASHES.contains(&hash_algorithm(*s)));
            let scheme = scheme.ok_or_else(|| {
                explain::other_method("certificate", "a signature algorithm that is not known")
            })?;
            Ok(Signature { scheme, encoding: SignatureEncoding::Asn1, bytes: signature.to_vec() })
        }
        AuthMethod::ECDSA_P256_SHA256 => fixed(SignatureScheme::EcdsaP256Sha256),
        AuthMethod::ECDSA_P384_SHA384 => fixed(SignatureScheme::EcdsaP384Sha384),
        AuthMethod::RSA_SIGNATURE => Err(explain::sha1_only("the peer")),
        AuthMethod::SHARED_KEY => Err(explain::other_method("certificate", "a pre-shared key")),
        other => Err(explain::other_method("certificate", &other.to_string())),
    }
}

/// The X.509 certificates of a message, as they came: the first is the end entity's (RFC 7296 §3.6). Other encodings
/// are passed over.
pub(crate) fn certificates(payloads: &[Payload]) -> Option<Vec<Vec<u8>>> {
    let list: Vec<_> = payloads
        .iter()
        .filter_map(|p| match p {
            Payload::Cert(c) if c.encoding == CertificateEncoding::X509_SIGNATURE => Some(c.data.clone()),
            _ => None,
        })
        .take(MAX_CERTIFICATES + 1)
        .collect();
    (list.len() <= MAX_CERTIFICATES).then_some(list)
}

/// The CERT payloads of the certificate that we prove ourselves with.
pub(crate) fn certificate_payloads(local: &LocalAuth, place: usize) -> Vec<Payload> {
    let LocalAuth::Signature { own } = local else { return Vec::new() };
    let chain = own.get(place).into_iter().flat_map(|chain| &chain.certificates);
    // [7296:1.2-1] [7296:3.6-2]
    chain.cloned().map(|c| Payload::Cert(Certificate::x509(c))).collect()
}

/// An identity for a person, known or not.
pub(crate) fn describe(id: &Identification) -> String {
    id.identity().as_ref().map_or_else(|| format!("an identity of type {}", id.id_type), Identity::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use SignatureScheme as S;

    // [7427:4-1] [7427:3-1]
    #[test]
    fn schemes_follow_what_the_peer_announced() {
        let rsa = [S::RsaPssSha512, S::RsaPssSha256];
        let (usable, encoding) = usable_schemes(&rsa, Some(&[2, 3])).unwrap();
        assert_eq!((usable, encoding), (vec![S::RsaPssSha256], SignatureEncoding::Asn1));
        assert!(usable_schemes(&rsa, Some(&[1])).is_err());
    }

    #[test]
    fn without_rfc_7427_there_is_ecdsa_and_no_sha1() {
        let ours = [S::EcdsaP384Sha384, S::EcdsaP384Sha256];
        let (usable, encoding) = usable_schemes(&ours, None).unwrap();
        assert_eq!((usable, encoding), (vec![S::EcdsaP384Sha384], SignatureEncoding::Fixed));
        let refused = usable_schemes(&[S::RsaPkcs1Sha256], None).unwrap_err();
        assert!(refused.text.contains("SHA-1"), "{refused}");
    }

    #[test]
    fn a_signature_comes_back_as_it_was_written() {
        for scheme in [S::RsaPkcs1Sha256, S::RsaPssSha384, S::Ed25519] {
            let auth = signed(scheme, SignatureEncoding::Asn1, b"signature").unwrap();
            let back = received(&auth).unwrap();
            assert_eq!((back.scheme, back.bytes), (scheme, b"signature".to_vec()));
        }
        let auth = signed(S::EcdsaP256Sha256, SignatureEncoding::Fixed, &[1; 64]).unwrap();
        assert_eq!(auth.method, AuthMethod::ECDSA_P256_SHA256);
        assert!(signed(S::RsaPssSha256, SignatureEncoding::Fixed, &[1; 64]).is_none());
    }
}
