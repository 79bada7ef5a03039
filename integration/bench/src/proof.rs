//! How the clients of a load initiator prove themselves, and how the server proves itself to them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use adit_auth::eap::{InnerConfig, Method, Peer, PeerAsk, PeerConfig, PeerStep};
use adit_core::{Failure, FailureCode, Secret, Step};
use adit_crypto::OsEntropy;
use adit_ikev2::api::{EapStep, EapSuccess, LocalAuth, RemoteAuth, SaId};
use adit_pki::{FileSigner, TrustAnchors, read_certificates};
use adit_tls::{ClientConfig, Engine, OwnCertificate, Versions, eap};
use anyhow::Context;

/// Everybody's.
#[derive(Clone)]
pub enum Proof {
    /// A pre-shared key, both ways.
    Psk(String),
    /// EAP, and the server by certificate.
    Eap(Arc<EapProof>),
}

/// What a client has for EAP.
pub struct EapProof {
    method: Method,
    password: String,
    tls: Option<ClientConfig>,
    /// Of the gateway's certificate.
    authorities: Vec<[u8; 20]>,
}

/// EAP's methods, as an argument says them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum EapWord {
    /// EAP-MSCHAPv2: everybody has the password.
    Mschapv2,
    /// EAP-TLS: everybody has the certificate.
    Tls,
}

/// The arguments of EAP.
#[derive(clap::Args, Debug)]
pub struct EapArguments {
    /// The method
    #[arg(long)]
    eap: EapWord,
    /// Everybody's password
    #[arg(long, default_value = "")]
    password: String,
    /// The authority of all certificates, PEM
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
    /// Everybody's certificate, PEM
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// Its key, PEM
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    /// The name in the certificate of EAP-TLS' server
    #[arg(long, default_value = "")]
    eap_server: String,
}

impl EapArguments {
    /// What it comes to.
    ///
    /// # Errors
    /// A file that cannot be read, or that EAP-TLS has no certificate.
    pub fn proof(&self) -> anyhow::Result<Proof> {
        let anchors = Arc::new(TrustAnchors::from_content(&read(&self.ca)?)?);
        let authorities = anchors.key_hashes();
        let tls = match self.eap {
            EapWord::Mschapv2 => None,
            EapWord::Tls => Some(self.tls(anchors)?),
        };
        let method = if tls.is_some() { Method::TLS } else { Method::MSCHAPV2 };
        Ok(Proof::Eap(Arc::new(EapProof { method, password: self.password.clone(), tls, authorities })))
    }

    fn tls(&self, anchors: Arc<TrustAnchors>) -> anyhow::Result<ClientConfig> {
        let certificate = self.certificate.as_deref().context("EAP-TLS needs --certificate")?;
        let key = read(self.key.as_deref().context("EAP-TLS needs --key")?)?;
        let chain = read_certificates(&read(certificate)?)?;
        let leaf = chain.first().context("no certificate in it")?;
        let signer = FileSigner::new(Secret::from(key.as_slice()), leaf, &ring::rand::SystemRandom::new())?;
        let own = Some(OwnCertificate { chain, signer: Arc::new(signer) });
        let name = self.eap_server.parse()?;
        Ok(ClientConfig { anchors, name, says_name: false, own, versions: Versions::Both })
    }
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(file).with_context(|| file.display().to_string())
}

impl Proof {
    pub(crate) fn local(&self) -> LocalAuth {
        match self {
            Self::Psk(_) => LocalAuth::Psk,
            Self::Eap(_) => LocalAuth::Eap { only: false },
        }
    }

    pub(crate) fn remote(&self) -> RemoteAuth {
        match self {
            Self::Psk(_) => RemoteAuth::Psk,
            Self::Eap(eap) => RemoteAuth::Certificate { authorities: eap.authorities.clone() },
        }
    }
}

/// The conversations that are on their way.
#[derive(Default)]
pub(crate) struct Talks(HashMap<SaId, (Peer, Option<Engine>)>);

impl Talks {
    /// What a packet of the server comes to.
    pub(crate) fn packet(
        &mut self,
        sa: SaId,
        proof: &Proof,
        packet: Option<&[u8]>,
    ) -> Result<EapStep, Failure> {
        let (Proof::Eap(proof), Some(packet)) = (proof, packet) else { return Err(no("speaks no EAP")) };
        let talk = match self.0.entry(sa) {
            std::collections::hash_map::Entry::Occupied(talk) => talk.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => place.insert(proof.begin(sa)?),
        };
        let (peer, engine) = talk;
        let mut entropy = OsEntropy::new();
        let mut step = peer.packet(packet);
        let ended = loop {
            step = match step {
                PeerStep::Send(packet) => return Ok(EapStep::Send(packet)),
                PeerStep::Ask(PeerAsk::Password { again: None }) => {
                    peer.answer(&mut entropy, Ok(Secret::from(proof.password.as_bytes())))
                }
                PeerStep::Ask(_) => peer.answer(&mut entropy, Err(no("has one password"))),
                PeerStep::Tls(ask) => match engine {
                    Some(engine) => {
                        let answer = eap::answer(engine, ask);
                        peer.tls(&mut entropy, answer)
                    }
                    None => break Err(no("has no certificate")),
                },
                PeerStep::Ended(ended) => break ended,
                PeerStep::Ignore => break Err(no("does not understand the server")),
            }
        };
        self.0.remove(&sa);
        let established = ended?;
        let mutual = established.method == Method::TLS;
        Ok(EapStep::Succeeded(Box::new(EapSuccess {
            packet: Vec::new(),
            msk: established.msk,
            mutual,
            peer: None,
        })))
    }

    /// It is over, whatever came of it.
    pub(crate) fn forget(&mut self, sa: SaId) {
        self.0.remove(&sa);
    }
}

impl EapProof {
    fn begin(&self, sa: SaId) -> Result<(Peer, Option<Engine>), Failure> {
        let user = format!("c{}", sa.0);
        let config = PeerConfig {
            identity: user.clone(),
            user,
            methods: vec![self.method],
            inner: InnerConfig::default(),
        };
        let engine = self.tls.as_ref().map(Engine::client).transpose()?;
        Ok((Peer::new(config), engine))
    }
}

fn no(what: &str) -> Failure {
    Failure::new(FailureCode::Internal, Step::Authenticate, format!("a load initiator {what}"))
}
