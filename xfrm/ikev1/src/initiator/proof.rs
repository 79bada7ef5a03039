//! Both ends prove who they are: Main Mode's fifth and sixth message, and what goes for them in Aggressive Mode.

use core::time::Duration;
use std::sync::Arc;

use adit_core::{Identity, Secret, Step};
use adit_isakmp::ExchangeType;
use adit_isakmp::payload::Protocol;
use adit_isakmp::v1::{
    CertData, Identification, Kind, Message, Notify, NotifyKind, Payload, X509_SIGNATURE, proposal,
};

use super::{Initiator, Stage, lifetime, shorter};
use crate::api::{Ask, Auth, OwnChain};
use crate::channel::{Channel, Material};
use crate::explain;
use crate::natt::Nat;
use crate::policy::Policy;
use crate::request::Request;
use crate::state::{Cx, Datagram, Last, Next, Stands};

/// Certificates that a peer may send.
pub(crate) const MOST_CERTIFICATES: usize = 10;
/// Authorities that are named in certificate requests; where we trust more, any is asked for.
const MOST_REQUESTS: usize = 16;

/// There are keys; what is left is to prove who is who.
pub(super) struct Proof {
    pub(super) channel: Channel,
    pub(super) material: Material,
    pub(super) nat: Nat,
    pub(super) wanted: Vec<Vec<u8>>,
    pub(super) life: Option<Duration>,
    /// Who the peer says it is.
    pub(super) remote: Option<Identity>,
    /// Aggressive Mode: the second message.
    pub(super) datagram: Vec<u8>,
}

/// What a peer says of itself, and its proof.
pub(crate) struct Theirs {
    pub(crate) identity: Identity,
    /// IDii_b or IDir_b.
    pub(crate) id_body: Vec<u8>,
    pub(crate) hash: Option<Vec<u8>>,
    pub(crate) signature: Option<Vec<u8>>,
    pub(crate) certificates: Vec<Vec<u8>>,
}

impl Theirs {
    /// Of a message in clear.
    pub(crate) fn of(message: &Message, plain: &[u8]) -> Option<Self> {
        let id = message.iter().find_map(|p| if let Payload::Id(id) = p { Some(id) } else { None })?;
        let mut this = Self {
            identity: id.identity()?,
            id_body: plain.get(message.body(Kind::ID)?)?.to_vec(),
            hash: None,
            signature: None,
            certificates: Vec::new(),
        };
        for payload in message.iter() {
            match payload {
                Payload::Hash(bytes) => this.hash = Some(bytes.clone()),
                Payload::Signature(bytes) => this.signature = Some(bytes.clone()),
                Payload::Cert(c) if c.encoding == X509_SIGNATURE => this.certificates.push(c.data.clone()),
                _ => {}
            }
        }
        let few = this.certificates.len() <= MOST_CERTIFICATES;
        (few && (this.hash.is_some() || this.signature.is_some())).then_some(this)
    }

    /// Whether a pre-shared key proves it.
    pub(crate) fn has(&self, hash: &Secret) -> bool {
        self.hash.as_deref().is_some_and(|got| hash.equals(got))
    }

    /// The question whether a signature proves it.
    pub(crate) fn ask(self, identity: Identity, message: Secret) -> Option<Ask> {
        let signature = self.signature?;
        (!self.certificates.is_empty()).then_some(Ask::Verify {
            identity,
            certificates: self.certificates,
            message,
            signature,
        })
    }
}

impl Initiator {
    /// Aggressive Mode: the peer's proof has come already.
    pub(super) fn check(mut self: Box<Self>, cx: &mut Cx<'_>, mut proof: Box<Proof>, theirs: Theirs) -> Next {
        if let Some(failure) = self.not_wanted(&theirs.identity) {
            return Next::failed(failure);
        }
        let hash = proof.channel.hash(cx, &proof.material, false, &theirs.id_body);
        let identity = self.proven(&theirs);
        proof.remote = Some(self.proven(&theirs));
        match self.config.auth {
            Auth::Psk if theirs.has(&hash) => self.prove(cx, proof),
            Auth::Psk => Next::failed(explain::server_unproven(&self.config)),
            Auth::Signature { .. } => match theirs.ask(identity, hash) {
                Some(question) => {
                    let ask = cx.ask(question);
                    self.asked(cx, Stage::Checking { ask, proof });
                    self.stay()
                }
                None => Next::failed(explain::server_unproven(&self.config)),
            },
        }
    }

    /// Who the peer is when it has proven it.
    fn proven(&self, theirs: &Theirs) -> Identity {
        let wanted = self.config.remote_id.as_ref().filter(|_| !matches!(self.config.auth, Auth::Psk));
        wanted.unwrap_or(&theirs.identity).clone()
    }

    fn not_wanted(&self, got: &Identity) -> Option<adit_core::Failure> {
        let wanted = self.config.remote_id.as_ref()?;
        // A certificate has to be for whom we want, and many a server calls itself by its whole subject.
        if let Auth::Signature { .. } = self.config.auth {
            return None;
        }
        (!got.matches(wanted)).then(|| explain::wrong_identity(wanted, got))
    }

    /// Makes our proof.
    pub(super) fn prove(mut self: Box<Self>, cx: &mut Cx<'_>, proof: Box<Proof>) -> Next {
        let id = Identification::of(self.local());
        let Ok(body) = Payload::Id(id).body() else {
            return Next::failed(explain::nothing_to_offer("local-id"));
        };
        let hash = proof.channel.hash(cx, &proof.material, true, &body);
        match &self.config.auth {
            // [2409:4-2]
            Auth::Psk => self.send_proof(cx, proof, Payload::Hash(hash.expose().to_vec())),
            Auth::Signature { own, .. } => {
                let certificate = choose(own, &proof.wanted);
                // [2409:5.1-1]
                let ask = cx.ask(Ask::Sign { certificate, message: hash });
                self.asked(cx, Stage::Signing { ask, proof });
                self.stay()
            }
        }
    }

    /// Sends it: Main Mode's fifth message, Aggressive Mode's third.
    pub(super) fn send_proof(
        mut self: Box<Self>,
        cx: &mut Cx<'_>,
        mut proof: Box<Proof>,
        auth: Payload,
    ) -> Next {
        let payloads = self.proof_payloads(cx, &proof, auth);
        let exchange =
            if self.config.aggressive { ExchangeType::AGGRESSIVE } else { ExchangeType::IDENTITY_PROTECTION };
        let datagrams = match proof.channel.seal_phase1(exchange, &payloads) {
            Ok(datagrams) => datagrams,
            Err(failure) => return Next::failed(failure),
        };
        if self.config.aggressive {
            cx.transmit_all(self.path, &datagrams);
            let datagram = core::mem::take(&mut proof.datagram);
            return self.stands(cx, proof, &datagram, datagrams);
        }
        let timing = self.config.timing;
        self.said = None;
        self.unusable = None;
        self.request = Some(Request::send(cx, self.path, datagrams, (&timing, timing.tries)));
        self.stage = Stage::Fifth(proof);
        self.stay()
    }

    fn proof_payloads(&self, cx: &Cx<'_>, proof: &Proof, auth: Payload) -> Vec<Payload> {
        let mut payloads = Vec::new();
        if !self.config.aggressive {
            payloads.push(Payload::Id(Identification::of(self.local())));
        }
        if let Auth::Signature { own, .. } = &self.config.auth {
            payloads.extend(certificates(own, &proof.wanted));
        }
        payloads.push(auth);
        if self.config.aggressive {
            let how = (self.peer, self.config.force_encapsulation);
            let (prf, cookies) = (proof.channel.suite.prf, proof.channel.cookies);
            // NAT-D is about the addresses that this message has.
            payloads.extend(crate::natt::payloads(&*cx.shared.crypto, prf, cookies, self.path, how));
        } else {
            payloads.extend(self.certificate_requests());
        }
        if cx.first_contact {
            payloads.push(initial_contact(proof.channel.cookies));
        }
        payloads
    }

    pub(super) fn certificate_requests(&self) -> Vec<Payload> {
        match &self.config.auth {
            Auth::Psk => Vec::new(),
            Auth::Signature { authorities, .. } => requests(authorities),
        }
    }

    /// Main Mode's sixth message: the peer's proof.
    pub(super) fn sixth(
        mut self: Box<Self>,
        cx: &mut Cx<'_>,
        mut proof: Box<Proof>,
        datagram: Datagram,
    ) -> Next {
        let Some((plain, message, iv)) = proof.channel.open_phase1(&datagram.bytes) else {
            cx.forged();
            self.unusable = Some("its last message can't be read");
            self.stage = Stage::Fifth(proof);
            return self.stay();
        };
        let Some(theirs) = Theirs::of(&message, &plain) else {
            self.stage = Stage::Fifth(proof);
            return self.useless(cx, "its last message lacks an identity or a proof of it");
        };
        let hash = proof.channel.hash(cx, &proof.material, false, &theirs.id_body);
        if matches!(self.config.auth, Auth::Psk) && !theirs.has(&hash) {
            // CBC can be changed on the way: a better one may come.
            cx.forged();
            self.stage = Stage::Fifth(proof);
            return self.useless(cx, "its proof is wrong");
        }
        if let Some(failure) = self.not_wanted(&theirs.identity) {
            return Next::failed(failure);
        }
        proof.life = shorter(proof.life, responder_lifetime(&message));
        proof.remote = Some(self.proven(&theirs));
        proof.channel.accept(iv);
        if matches!(self.config.auth, Auth::Psk) {
            return self.stands(cx, proof, &datagram.bytes, Vec::new());
        }
        let identity = self.proven(&theirs);
        match theirs.ask(identity, hash) {
            Some(question) => {
                let ask = cx.ask(question);
                self.asked(cx, Stage::Verifying { ask, proof, datagram: datagram.bytes });
                self.stay()
            }
            None => Next::failed(explain::server_unproven(&self.config)),
        }
    }

    /// Phase 1 is over.
    pub(super) fn stands(
        self: Box<Self>,
        cx: &mut Cx<'_>,
        proof: Box<Proof>,
        datagram: &[u8],
        answer: Vec<Vec<u8>>,
    ) -> Next {
        let Proof { mut channel, nat, life, remote, .. } = *proof;
        channel.peer = self.peer;
        let remote_id = remote.unwrap_or(Identity::Address(self.path.remote.ip()));
        cx.progress(Step::Child);
        Next::Stands(Box::new(Stands {
            channel,
            initiator: true,
            auth: self.config.auth.method(),
            nat,
            life: life.or(Some(lifetime(self.config.timing.rekey_ike))),
            remote_id,
            policy: Arc::new(Policy::of_initiator(&self.config)),
            config: Some(self.config),
            initial_contact: false,
            last: Last::new(cx, datagram, answer),
        }))
    }
}

/// RESPONDER-LIFETIME of phase 1.
fn responder_lifetime(message: &Message) -> Option<Duration> {
    message.iter().find_map(|p| match p {
        Payload::Notify(n) if n.kind == NotifyKind::RESPONDER_LIFETIME => proposal::read_lifetime(&n.data),
        _ => None,
    })
}

/// INITIAL-CONTACT.
fn initial_contact(cookies: (u64, u64)) -> Payload {
    let spi = [cookies.0.to_be_bytes(), cookies.1.to_be_bytes()].concat();
    Payload::Notify(Notify::new(Protocol::IKE, spi, NotifyKind::INITIAL_CONTACT, Vec::new()))
}

/// The place of the certificate that a peer asks for.
pub(crate) fn choose(own: &[OwnChain], wanted: &[Vec<u8>]) -> usize {
    let fits = |chain: &OwnChain| chain.authorities.iter().any(|name| wanted.contains(name));
    own.iter().position(fits).unwrap_or(0)
}

/// It and what leads to its authority, as payloads.
pub(crate) fn certificates(own: &[OwnChain], wanted: &[Vec<u8>]) -> Vec<Payload> {
    // [2409:5.1-2]
    let chain = own.get(choose(own, wanted));
    let all = chain.map(|c| c.certificates.as_slice()).unwrap_or_default();
    all.iter().map(|der| Payload::Cert(CertData::x509(der.clone()))).collect()
}

/// Certificate requests for these authorities, or for any.
pub(crate) fn requests(authorities: &[Vec<u8>]) -> Vec<Payload> {
    if authorities.is_empty() || authorities.len() > MOST_REQUESTS {
        return vec![Payload::CertReq(CertData::x509(Vec::new()))];
    }
    authorities.iter().map(|name| Payload::CertReq(CertData::x509(name.clone()))).collect()
}
