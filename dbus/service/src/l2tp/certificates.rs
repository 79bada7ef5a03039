//! Certificates that prove both ends of the IPsec around L2TP, by RSA signatures (RFC 2409 §5.1).

use std::sync::Arc;

use adit_core::{Failure, FailureCode, Identity, KeyKind, Secret, Step};
use adit_ikev1::api::{Answer, Ask, Auth, OwnChain};
use adit_pki::{PkiError, Question, Signer, TrustAnchors, issuers};
use adit_profile::Revocation;

use crate::blocking::blocking;
use crate::credentials::{OwnCertificate, PeerIs, strictness, verified};
use crate::ike::Pending;

/// Ours, and whose of the other end's are believed.
pub(crate) struct Certificates {
    own: Vec<(OwnChain, Arc<dyn Signer>)>,
    identity: Identity,
    anchors: Arc<TrustAnchors>,
    revocation: Revocation,
    peer: PeerIs,
}

impl Certificates {
    /// `peer` is who will show one to us.
    ///
    /// # Errors
    /// None of ours has an RSA key, or ours can't be read.
    pub(crate) fn new(
        own: &OwnCertificate,
        (anchors, revocation): (Arc<TrustAnchors>, Revocation),
        peer: PeerIs,
    ) -> Result<Self, Failure> {
        let rsa = |signer: &Arc<dyn Signer>| signer.schemes().iter().any(|s| s.key_kind() == KeyKind::Rsa);
        let chain = |chain: Vec<Vec<u8>>| OwnChain { authorities: issuers(&chain), certificates: chain };
        let all = own.chains().filter(|(_, signer)| rsa(signer));
        let own_chains: Vec<_> = all.map(|(certificates, signer)| (chain(certificates), signer)).collect();
        if own_chains.is_empty() {
            let text = "IKEv1 signs with RSA keys only, and the key of the certificate is none";
            return Err(Failure::new(FailureCode::ConfigurationInvalid, Step::Profile, text)
                .hint("use a certificate with an RSA key, or IKEv2"));
        }
        Ok(Self { own: own_chains, identity: own.identity()?, anchors, revocation, peer })
    }

    /// How an initiator proves itself with them.
    pub(super) fn auth(&self) -> Auth {
        Auth::Signature { own: self.chains(), authorities: self.authorities() }
    }

    pub(super) fn chains(&self) -> Vec<OwnChain> {
        self.own.iter().map(|(chain, _)| chain.clone()).collect()
    }

    /// The names of authorities by which the peer chooses its certificate, DER.
    pub(super) fn authorities(&self) -> Vec<Vec<u8>> {
        self.anchors.subjects()
    }

    /// Whom our best certificate is for.
    pub(super) const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Answers [`Ask::Verify`].
    pub(super) fn verify(&self, identity: Identity, chain: Vec<Vec<u8>>, signed: Signed) -> Pending<Answer> {
        let (anchors, revocation, peer) = (Arc::clone(&self.anchors), self.revocation, self.peer);
        Pending::Later(Box::pin(async move {
            let work = move || {
                let questions = || -> Result<Vec<Question>, PkiError> {
                    let key = verified(&anchors, peer, &chain, &identity)?;
                    key.verify_bare(signed.hash.expose(), &signed.signature)?;
                    key.questions()
                };
                questions().map_err(Failure::from)
            };
            let checked = blocking(Step::Authenticate, "the check of a signature", work).await.flatten();
            Answer::Verified(match checked {
                Ok(questions) => crate::revocation::check(questions, strictness(revocation)).await,
                Err(failure) => Err(failure),
            })
        }))
    }

    /// Answers [`Ask::Sign`].
    pub(super) fn sign(&self, certificate: usize, hash: Secret) -> Pending<Answer> {
        let Some((_, signer)) = self.own.get(certificate) else {
            return Pending::Now(Answer::Signed(Err(unexpected())));
        };
        let signer = Arc::clone(signer);
        Pending::Later(Box::pin(async move {
            let work = move || signer.sign_bare(hash.expose()).map_err(Failure::from);
            Answer::Signed(blocking(Step::Authenticate, "making a signature", work).await.flatten())
        }))
    }
}

/// What a peer has signed.
pub(super) struct Signed {
    hash: Secret,
    signature: Vec<u8>,
}

/// Answers what is about certificates; what is not, comes back.
pub(super) fn answer(certificates: Option<&Certificates>, ask: Ask) -> Result<Pending<Answer>, Ask> {
    Ok(match (ask, certificates) {
        (Ask::Verify { identity, certificates: chain, message: hash, signature }, Some(known)) => {
            known.verify(identity, chain, Signed { hash, signature })
        }
        (Ask::Sign { certificate, message }, Some(known)) => known.sign(certificate, message),
        (other, _) => return Err(other),
    })
}

fn unexpected() -> Failure {
    Failure::new(FailureCode::Internal, Step::Authenticate, "IKEv1's core asked for a signature of nobody's")
}
