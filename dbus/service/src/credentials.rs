//! What proves who we are and who the peer is: certificates and keys from files and tokens, made ready for use.

use std::cmp::Reverse;
use std::iter::once;
use std::sync::Arc;

use adit_core::{Failure, FailureCode, Identity, KeyKind, Secret, SignatureScheme, Step};
use adit_ikev2::api::{Answer, LocalAuth, OwnChain, SignatureEncoding};
use adit_pki::{
    EcdsaEncoding, FileSigner, Pkcs12, PkiError, Question, Signer, Strictness, TrustAnchors, VerifiedKey,
    identities, is_authority, leads_to, read_certificates, suits,
};
use adit_profile::{CertSource, FileRef, KeySource, Revocation, TokenKey};
use ring::rand::SystemRandom;

use crate::blocking::blocking;
use crate::client::Asker;
use crate::clock;
use crate::files::Files;
use crate::ike::Pending;
use crate::token::{Pin, Refused, Token};

/// What blocks, where a key is in a token.
const MODULE: &str = "the token's module";

/// What we prove ourselves with: one certificate or several.
#[derive(Clone)]
pub struct OwnCertificate {
    best: One,
    /// Best first.
    others: Vec<One>,
}

/// A certificate of ours, those between it and its authority, and its key.
#[derive(Clone)]
struct One {
    chain: Vec<Vec<u8>>,
    signer: Arc<dyn Signer>,
    /// What it leads to, as far as is known.
    authorities: Vec<[u8; 20]>,
}

impl OwnCertificate {
    /// Reads and checks them, as they are written. The key of a file must be that of a certificate; what a token signs is
    /// compared with its certificate when it signs. Where a token wants a PIN that no file has, `person` is asked for it.
    ///
    /// # Errors
    /// A file that cannot be read, a key that fits no certificate, or a token that is not there or not opened.
    pub(crate) async fn load(
        files: &Files,
        certificate: &[CertSource],
        keys: &[KeySource],
        password: Option<&FileRef>,
        person: Option<&Asker>,
    ) -> Result<Self, Failure> {
        if let [KeySource::Token(key)] = keys {
            return Self::in_token(files, certificate, key, password, person).await;
        }
        let given = given(files, certificate)?;
        let read = |key: &KeySource| {
            let password = password.map(|file| files.key_password(file)).transpose()?;
            One::read(&given, files.key(key)?, password, keys.len() > 1)
        };
        let mut all = keys.iter().map(read);
        let best = all.next().ok_or_else(no_certificate)??;
        Ok(Self { best, others: all.collect::<Result<_, Failure>>()? })
    }

    /// Of what files hold: certificates, a key that must be the first one's, and its password.
    ///
    /// # Errors
    /// They can't be read, or the key is another's.
    pub(crate) fn of_content(
        certificates: &[u8],
        key: Secret,
        password: Option<Secret>,
    ) -> Result<Self, Failure> {
        let given = read_certificates(certificates)?;
        Ok(Self { best: One::read(&given, key, password, false)?, others: Vec::new() })
    }

    /// The key is in a token, and the certificate perhaps too. A person who types a wrong PIN is asked again.
    async fn in_token(
        files: &Files,
        certificate: &[CertSource],
        key: &TokenKey,
        password: Option<&FileRef>,
        person: Option<&Asker>,
    ) -> Result<Self, Failure> {
        let given = given(files, certificate)?;
        let mut reason = String::new();
        loop {
            let (folder, wanted) = (files.modules(), key.clone());
            let token = blocking(Step::Profile, MODULE, move || Token::find(&folder, &wanted)).await??;
            let pin = match (password, person) {
                (Some(file), _) => Pin::File(files.key_password(file)?),
                (None, Some(person)) if token.wants_pin() => {
                    Pin::Typed(person.ask_for_pin(token.label(), &reason).await?)
                }
                // It asks for it itself, needs none, or is not opened.
                (None, _) => Pin::None,
            };
            let typed = matches!(pin, Pin::Typed(_));
            let (given, wanted) = (given.clone(), key.clone());
            let open = move || One::in_token(given, token, &wanted, &pin);
            match blocking(Step::Profile, MODULE, open).await? {
                Ok(best) => return Ok(Self { best, others: Vec::new() }),
                Err(Refused::Pin(why)) if typed => reason = why.text,
                Err(Refused::Pin(why) | Refused::Other(why)) => return Err(why),
            }
        }
    }

    /// Those that name who we claim to be, best first: valid ones, then those that are made for IKE, then as they are written.
    /// Without a claim it is the name of the best. `peer` is who will look at them; `known` are authorities that a peer may
    /// ask for.
    #[must_use]
    pub fn sorted<'a>(
        mut self,
        claimed: Option<&Identity>,
        peer: PeerIs,
        known: impl Iterator<Item = &'a TrustAnchors>,
    ) -> Self {
        let now = clock::wall();
        let suit = |one: &One| suits(one.leaf(), peer == PeerIs::Client, now);
        self.prefer(suit);
        let claim = claimed.cloned().or_else(|| self.identity().ok());
        let fits = |one: &One| {
            let names = identities(one.leaf()).unwrap_or_default();
            claim.as_ref().is_none_or(|claim| names.iter().any(|name| name.matches(claim)))
        };
        // Where none fits, the peer says what is wrong with the best.
        self.prefer(|one| (fits(one), suit(one)));
        self.others.retain(fits);
        let known: Vec<&TrustAnchors> = known.collect();
        for one in once(&mut self.best).chain(&mut self.others) {
            one.authorities.extend(known.iter().flat_map(|anchors| leads_to(&one.chain, anchors)));
            one.authorities.sort_unstable();
            one.authorities.dedup();
        }
        self
    }

    /// Sorts them, the greatest first. Equals stay in their order.
    fn prefer<K: Ord>(&mut self, rank: impl Fn(&One) -> K) {
        let (mut better, mut most) = (None, rank(&self.best));
        for (at, one) in self.others.iter().enumerate() {
            let this = rank(one);
            if this > most {
                (better, most) = (Some(at), this);
            }
        }
        if let Some(at) = better {
            let better = self.others.remove(at);
            self.others.insert(0, std::mem::replace(&mut self.best, better));
        }
        self.others.sort_by_key(|one| Reverse(rank(one)));
    }

    fn all(&self) -> impl Iterator<Item = &One> {
        once(&self.best).chain(&self.others)
    }

    /// Each certificate with those that lead to its authority, and its key; best first.
    pub(crate) fn chains(&self) -> impl Iterator<Item = (Vec<Vec<u8>>, Arc<dyn Signer>)> {
        self.all().map(|one| (one.chain.clone(), Arc::clone(&one.signer)))
    }

    /// The best for TLS.
    #[must_use]
    pub(crate) fn for_tls(&self) -> adit_tls::OwnCertificate {
        adit_tls::OwnCertificate { chain: self.best.chain.clone(), signer: Arc::clone(&self.best.signer) }
    }

    /// All of them for TLS, as they are written: a server shows each who names its host.
    #[must_use]
    pub(crate) fn for_hosts(&self) -> Vec<adit_tls::OwnCertificate> {
        let one = |one: &One| adit_tls::OwnCertificate {
            chain: one.chain.clone(),
            signer: Arc::clone(&one.signer),
        };
        self.all().map(one).collect()
    }

    /// How an IKE_SA proves itself with them.
    #[must_use]
    pub fn local_auth(&self) -> LocalAuth {
        let own = |one: &One| OwnChain {
            certificates: one.chain.clone(),
            schemes: one.signer.schemes(),
            authorities: one.authorities.clone(),
        };
        LocalAuth::Signature { own: self.all().map(own).collect() }
    }

    /// The identity that the best certificate itself gives: its first alternative name, else its subject.
    ///
    /// # Errors
    /// The certificate cannot be read.
    pub fn identity(&self) -> Result<Identity, Failure> {
        identities(self.best.leaf())?.into_iter().next().ok_or_else(no_certificate)
    }

    /// Answers [`adit_ikev2::api::Ask::Sign`] with the key of the certificate at that place: a private key's work goes to
    /// the blocking pool.
    #[must_use]
    pub fn sign(
        &self,
        certificate: usize,
        schemes: Vec<SignatureScheme>,
        encoding: SignatureEncoding,
        message: Secret,
    ) -> Pending {
        let Some(signer) = self.all().nth(certificate).map(|one| Arc::clone(&one.signer)) else {
            return Pending::Now(Answer::Signed(Err(no_certificate())));
        };
        Pending::Later(Box::pin(async move {
            let work = move || {
                let can = signer.schemes();
                let scheme = schemes.into_iter().find(|s| can.contains(s)).ok_or_else(no_scheme)?;
                let signature =
                    signer.sign(scheme, message.expose(), ecdsa(encoding), &SystemRandom::new())?;
                Ok((scheme, signature))
            };
            Answer::Signed(blocking(Step::Authenticate, "making a signature", work).await.flatten())
        }))
    }
}

impl One {
    fn new(chain: Vec<Vec<u8>>, signer: Arc<dyn Signer>) -> Self {
        let authorities = leads_to(&chain, &TrustAnchors::new());
        Self { chain, signer, authorities }
    }

    fn leaf(&self) -> &[u8] {
        self.chain.first().map(Vec::as_slice).unwrap_or_default()
    }

    /// A token's; `given` are certificates that it may lack. It blocks.
    fn in_token(given: Vec<Vec<u8>>, token: Token, key: &TokenKey, pin: &Pin) -> Result<Self, Refused> {
        let (leaf, opened) = token.open(key, pin)?;
        let rest = given.into_iter().filter(|der| Some(der) != leaf.as_ref());
        let chain: Vec<Vec<u8>> = leaf.clone().into_iter().chain(rest).collect();
        let first = chain.first().ok_or_else(|| Refused::Other(no_certificate_in_token()))?;
        let signer = opened.signer(first).map_err(Refused::Other)?;
        Ok(Self::new(chain, Arc::new(signer)))
    }

    /// The key of a file, with its certificate of those `given`: with a key alone the first, and with `several` the one that
    /// it fits.
    fn read(
        given: &[Vec<u8>],
        content: Secret,
        password: Option<Secret>,
        several: bool,
    ) -> Result<Self, Failure> {
        let random = SystemRandom::new();
        if Pkcs12::is(content.expose()) {
            let password = password.unwrap_or_else(|| Secret::new(Vec::new()));
            let (mut chain, signer) = Pkcs12::open(&content, &password)?.into_signer(&random)?;
            // Those that the file lacks.
            chain.extend(given.iter().filter(|der| !several || is_authority(der)).cloned());
            return Ok(Self::new(chain, Arc::new(signer)));
        }
        let signer =
            |leaf: &[u8]| FileSigner::with_password(content.duplicate(), password.as_ref(), leaf, &random);
        if !several {
            let leaf = given.first().ok_or_else(no_certificate)?;
            return Ok(Self::new(given.to_vec(), Arc::new(signer(leaf)?)));
        }
        let mut wrong = None;
        for leaf in given.iter().filter(|der| !is_authority(der)) {
            match signer(leaf) {
                Ok(signer) => {
                    let between = given.iter().filter(|der| is_authority(der));
                    let chain = std::iter::once(leaf).chain(between).cloned().collect();
                    return Ok(Self::new(chain, Arc::new(signer)));
                }
                Err(why) => wrong = wrong.or(Some(why)),
            }
        }
        Err(wrong.map_or_else(no_certificate, Failure::from))
    }
}

/// What a signature of the peer has to satisfy.
pub struct PeerSignature {
    /// Whom it has to be of.
    pub identity: Identity,
    /// The peer's certificates, its own first.
    pub certificates: Vec<Vec<u8>>,
    /// How it signed.
    pub scheme: SignatureScheme,
    /// How the signature is written.
    pub encoding: SignatureEncoding,
    /// What it signed.
    pub message: Secret,
    /// The signature.
    pub signature: Vec<u8>,
}

/// Which end the peer is: its certificate has to say that it may be that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PeerIs {
    /// The server that we dialled.
    Server,
    /// A client that dialled us.
    Client,
}

/// Answers [`adit_ikev2::api::Ask::Verify`]: chain, name, purpose, dates and signature, on the blocking pool; then, of
/// whoever has proven itself so, whether its certificates have been revoked.
#[must_use]
pub fn verify(
    anchors: Arc<TrustAnchors>,
    revocation: Revocation,
    peer: PeerIs,
    claim: PeerSignature,
) -> Pending {
    Pending::Later(Box::pin(async move {
        let work = move || check(&anchors, peer, &claim).map_err(Failure::from);
        let checked = blocking(Step::Authenticate, "the check of a signature", work).await.flatten();
        Answer::Verified(match checked {
            Ok(questions) => crate::revocation::check(questions, strictness(revocation)).await,
            Err(failure) => Err(failure),
        })
    }))
}

pub(crate) const fn strictness(revocation: Revocation) -> Strictness {
    match revocation {
        Revocation::Off => Strictness::Off,
        Revocation::Soft => Strictness::Soft,
        Revocation::Strict => Strictness::Strict,
    }
}

/// The key of a certificate that is the peer's, now.
pub(crate) fn verified(
    anchors: &TrustAnchors,
    peer: PeerIs,
    chain: &[Vec<u8>],
    identity: &Identity,
) -> Result<VerifiedKey, PkiError> {
    let now = clock::wall();
    match peer {
        PeerIs::Server => adit_pki::verify_server(chain, anchors, identity, now),
        PeerIs::Client => adit_pki::verify_client(chain, anchors, identity, now),
    }
}

fn check(anchors: &TrustAnchors, peer: PeerIs, claim: &PeerSignature) -> Result<Vec<Question>, PkiError> {
    let key = verified(anchors, peer, &claim.certificates, &claim.identity)?;
    let scheme = of_key(claim.scheme, claim.encoding, key.kind());
    key.verify(scheme, claim.message.expose(), &claim.signature, ecdsa(claim.encoding))?;
    key.questions()
}

/// The scheme that was meant: an ECDSA AlgorithmIdentifier names the hash only (RFC 7427 appendix A.3), and the curve
/// is the key's. RFC 4754's methods name both.
fn of_key(named: SignatureScheme, encoding: SignatureEncoding, key: KeyKind) -> SignatureScheme {
    use SignatureScheme as S;
    match (named, encoding, key) {
        (S::EcdsaP256Sha256, SignatureEncoding::Asn1, KeyKind::EcdsaP384) => S::EcdsaP384Sha256,
        (S::EcdsaP384Sha256, SignatureEncoding::Asn1, KeyKind::EcdsaP256) => S::EcdsaP256Sha256,
        (S::EcdsaP256Sha384, SignatureEncoding::Asn1, KeyKind::EcdsaP384) => S::EcdsaP384Sha384,
        (S::EcdsaP384Sha384, SignatureEncoding::Asn1, KeyKind::EcdsaP256) => S::EcdsaP256Sha384,
        (named, _, _) => named,
    }
}

/// The authorities of a profile, or the system's where it names none.
///
/// # Errors
/// A file that cannot be read, or a certificate that cannot be used.
pub fn anchors(files: &Files, sources: &[CertSource]) -> Result<TrustAnchors, Failure> {
    match sources {
        [] => system_anchors(),
        some => Ok(TrustAnchors::from_content(&files.certificates(some)?)?),
    }
}

/// The authorities of the system's trust store.
///
/// # Errors
/// There is none.
pub(crate) fn system_anchors() -> Result<TrustAnchors, Failure> {
    let system = rustls_native_certs::load_native_certs();
    let mut anchors = TrustAnchors::new();
    for certificate in &system.certs {
        // One authority of a hundred that uses an algorithm we lack is no reason to trust none.
        if let Err(e) = anchors.add_der(certificate) {
            tracing::debug!(error = %e, "an authority of the system's trust store was left out");
        }
    }
    if anchors.is_empty() {
        let text = "the system's trust store is empty, and the profile names no authority";
        let hint = "install ca-certificates, or add  ca = [\"your-ca.pem\"]  to the profile";
        return Err(Failure::new(FailureCode::CertificateUntrusted, Step::Profile, text).hint(hint));
    }
    Ok(anchors)
}

/// The certificates that a configuration names. None is no mistake yet: a PKCS#12 file or a token may hold what is needed.
fn given(files: &Files, certificate: &[CertSource]) -> Result<Vec<Vec<u8>>, Failure> {
    match certificate {
        [] => Ok(Vec::new()),
        some => Ok(read_certificates(&files.certificates(some)?)?),
    }
}

fn ecdsa(encoding: SignatureEncoding) -> EcdsaEncoding {
    match encoding {
        SignatureEncoding::Asn1 => EcdsaEncoding::Der,
        SignatureEncoding::Fixed => EcdsaEncoding::Fixed,
    }
}

fn no_certificate() -> Failure {
    let text = "there is no certificate in the file that the configuration names";
    Failure::new(FailureCode::ConfigurationInvalid, Step::Profile, text)
        .hint("it holds PEM, -----BEGIN CERTIFICATE-----")
}

fn no_certificate_in_token() -> Failure {
    let text = "the token holds no certificate with the key's number, and the configuration names none";
    Failure::new(FailureCode::ConfigurationInvalid, Step::Profile, text)
        .hint("add  certificate = \"NAME.pem\"")
}

fn no_scheme() -> Failure {
    let text = "the peer accepts no signature that our key can make";
    Failure::new(FailureCode::ProposalMismatch, Step::Authenticate, text)
        .hint("use an RSA, P-256 or P-384 key, or a peer with RFC 7427 signatures")
}

#[cfg(test)]
mod tests {
    use SignatureScheme as S;

    use super::*;

    #[test]
    fn the_curve_is_the_certificates() {
        let asn1 = |named, key| of_key(named, SignatureEncoding::Asn1, key);
        assert_eq!(asn1(S::EcdsaP256Sha384, KeyKind::EcdsaP384), S::EcdsaP384Sha384);
        assert_eq!(asn1(S::EcdsaP256Sha256, KeyKind::EcdsaP384), S::EcdsaP384Sha256);
        assert_eq!(asn1(S::EcdsaP384Sha384, KeyKind::EcdsaP256), S::EcdsaP256Sha384);
        assert_eq!(asn1(S::EcdsaP384Sha256, KeyKind::EcdsaP256), S::EcdsaP256Sha256);
        assert_eq!(asn1(S::EcdsaP256Sha256, KeyKind::EcdsaP256), S::EcdsaP256Sha256);
    }

    /// A certificate for this name, with its key, and one of it.
    fn one(name: &str, subject: &str, for_ike: bool) -> One {
        use rcgen::ExtendedKeyUsagePurpose as Eku;
        let ike = for_ike.then(|| Eku::Other(vec![1, 3, 6, 1, 5, 5, 8, 2, 2]));
        with(name, subject, once(Eku::ServerAuth).chain(ike).collect(), false)
    }

    fn with(name: &str, subject: &str, usages: Vec<rcgen::ExtendedKeyUsagePurpose>, expired: bool) -> One {
        let mut params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, subject);
        params.extended_key_usages = usages;
        if expired {
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        }
        let key = rcgen::KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().to_vec();
        let pem = Secret::from(key.serialize_pem().as_bytes());
        One::read(&[der], pem, None, true).unwrap()
    }

    fn own(all: Vec<One>) -> OwnCertificate {
        let mut all = all.into_iter();
        OwnCertificate { best: all.next().unwrap(), others: all.collect() }
    }

    fn shown(own: &OwnCertificate) -> Vec<Vec<Vec<u8>>> {
        own.all().map(|one| one.chain.clone()).collect()
    }

    #[test]
    fn of_several_those_that_name_us_are_shown_and_the_one_for_ike_first() {
        let given = [
            one("vpn.example.com", "web", false),
            one("old.example.com", "old", true),
            one("vpn.example.com", "ike", true),
        ];
        let all = || own(given.to_vec());
        let [web, old, ike] = given.each_ref().map(|one| one.chain.clone());
        let anchors = TrustAnchors::from_content(&old[0]).unwrap();
        let claim: Identity = "vpn.example.com".parse().unwrap();
        let sorted = all().sorted(Some(&claim), PeerIs::Client, [&anchors].into_iter());
        assert_eq!(shown(&sorted), [ike, web]);
        // Without a claim we are who the best says, and show what says the same.
        let sorted = all().sorted(None, PeerIs::Client, std::iter::empty());
        assert_eq!(sorted.identity().unwrap().to_string(), "old.example.com");
        assert_eq!(shown(&sorted), std::slice::from_ref(&old));
        // Where none names us the best is shown, and refused by the peer with a reason.
        let claim: Identity = "nobody.example.com".parse().unwrap();
        let sorted = all().sorted(Some(&claim), PeerIs::Client, std::iter::empty());
        assert_eq!(shown(&sorted), [old]);
    }

    #[test]
    fn what_the_peer_would_refuse_comes_last() {
        use rcgen::ExtendedKeyUsagePurpose as Eku;
        let ike = || Eku::Other(vec![1, 3, 6, 1, 5, 5, 8, 2, 2]);
        let expired = with("vpn.example.com", "expired", vec![Eku::ServerAuth, ike()], true);
        let server = with("vpn.example.com", "server", vec![Eku::ServerAuth], false);
        let client = with("vpn.example.com", "client", vec![Eku::ClientAuth], false);
        let all = || own(vec![expired.clone(), server.clone(), client.clone()]);
        let best = |peer| all().sorted(None, peer, std::iter::empty()).best.chain;
        assert_eq!(best(PeerIs::Client), server.chain, "clients want a server's");
        assert_eq!(best(PeerIs::Server), client.chain, "a server wants a client's");
    }

    #[test]
    fn an_authority_is_named_once_whoever_knows_it() {
        let mine = one("vpn.example.com", "vpn", true);
        let anchors = TrustAnchors::from_content(&mine.chain[0]).unwrap();
        let sorted = own(vec![mine]).sorted(None, PeerIs::Client, [&anchors, &anchors].into_iter());
        assert_eq!(sorted.best.authorities.len(), 1);
    }

    #[tokio::test]
    async fn a_pkcs12_file_is_enough() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let content: &[u8] = include_bytes!("../../../policy/pki/tests/data/empty.p12");
        let file = folder.path().join("private/alice.p12");
        std::fs::create_dir(folder.path().join("private")).unwrap();
        std::fs::write(&file, content).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        let name = "alice.p12".parse().unwrap();
        let key = KeySource::File(FileRef { directory: adit_profile::Directory::Private, name, span: 0..0 });
        let files = Files::new(folder.path());
        let own = OwnCertificate::load(&files, &[], &[key], None, None).await;
        assert!(own.is_ok_and(|own| own.identity().is_ok()));
    }

    #[test]
    fn a_key_finds_its_certificate_among_several() {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(["vpn.example.com".to_owned()]).unwrap();
        let mine = params.self_signed(&key).unwrap().der().to_vec();
        let given =
            [one("a.example.com", "a", false), one("b.example.com", "b", false)].map(|o| o.chain[0].clone());
        let given = [given.as_slice(), std::slice::from_ref(&mine)].concat();
        let pem = || Secret::from(key.serialize_pem().as_bytes());
        assert_eq!(One::read(&given, pem(), None, true).unwrap().chain, [mine]);
        let lonely = One::read(&given[..2], pem(), None, true).err().unwrap();
        assert_eq!(lonely.code, FailureCode::ConfigurationInvalid);
        assert!(One::read(&given, pem(), None, false).is_err(), "alone it is that of the first");
    }

    #[test]
    fn nothing_else_is_read_into_a_scheme() {
        let fixed = of_key(S::EcdsaP256Sha256, SignatureEncoding::Fixed, KeyKind::EcdsaP384);
        assert_eq!(fixed, S::EcdsaP256Sha256);
        let rsa = of_key(S::RsaPkcs1Sha256, SignatureEncoding::Asn1, KeyKind::EcdsaP256);
        assert_eq!(rsa, S::RsaPkcs1Sha256);
    }
}
