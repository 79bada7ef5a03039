//! Who answers the link's questions: the words of the command line.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::sync::Arc;

use adit_auth::eap::{AuthenticatorAsk, InnerConfig, Method, TlsAnswer, UserSecret};
use adit_core::{Failure, FailureCode, Identity, Secret, Step};
use adit_pki::{FileSigner, TrustAnchors, read_certificates};
use adit_ppp::{
    Addresses, Answer, Ask, AuthMethod, EapConfig, KnownUser, LinkConfig, Mppe, NameServers, NetworkPlan,
    Timing,
};
use adit_tls::{ClientConfig, Engine, OwnCertificate, ServerConfig, Versions, eap};

/// Our end's address and the peer's, where we give them.
const ADDRESSES: (Ipv4Addr, Ipv4Addr) = (Ipv4Addr::new(10, 99, 0, 1), Ipv4Addr::new(10, 99, 0, 2));

/// The command line: `key=value`.
pub(crate) struct Words(BTreeMap<String, String>);

impl Words {
    pub(crate) fn read() -> Result<Self, String> {
        let split = |word: String| {
            let (key, value) = word.split_once('=').ok_or(format!("{word}: not key=value"))?;
            Ok((key.to_owned(), value.to_owned()))
        };
        std::env::args().skip(1).map(split).collect::<Result<_, String>>().map(Self)
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    fn file(&self, key: &str) -> Result<Option<Vec<u8>>, String> {
        self.get(key).map(|path| fs::read(path).map_err(|e| format!("{path}: {e}"))).transpose()
    }

    fn list<T>(&self, key: &str, known: &[(&str, T)]) -> Result<Vec<T>, String>
    where
        T: Copy,
    {
        let one = |word: &str| {
            let found = known.iter().find(|(name, _)| *name == word).map(|(_, value)| *value);
            found.ok_or(format!("{key}: what is {word}?"))
        };
        self.get(key).map_or(Ok(Vec::new()), |words| words.split(',').map(one).collect())
    }
}

/// The link that is wanted. `prove` and `demand` list methods, `name` is our name, `eap` lists methods of EAP.
pub(crate) fn config(words: &Words) -> Result<LinkConfig, String> {
    let methods = [
        ("pap", AuthMethod::Pap),
        ("chap", AuthMethod::ChapMd5),
        ("mschapv1", AuthMethod::MsChapV1),
        ("mschapv2", AuthMethod::MsChapV2),
        ("eap", AuthMethod::Eap),
    ];
    let of_eap = [
        ("md5", Method::MD5),
        ("mschapv2", Method::MSCHAPV2),
        ("tls", Method::TLS),
        ("ttls", Method::TTLS),
        ("peap", Method::PEAP),
    ];
    let demand = words.list("demand", &methods)?;
    Ok(LinkConfig {
        mru: 1500,
        compress_header: true,
        prove: words.list("prove", &methods)?,
        name: words.get("name").unwrap_or("vpn").to_owned(),
        eap: EapConfig {
            identity: None,
            methods: words.list("eap", &of_eap)?,
            inner: InnerConfig::default(),
            pass_through: false,
        },
        mppe: Mppe::OFF,
        ipv4: true,
        ipv6: true,
        addresses: match demand.is_empty() {
            true => Addresses::FromPeer { wanted: None, servers: NameServers::ALL },
            false => Addresses::ForPeer,
        },
        demand,
        timing: Timing::default(),
    })
}

/// What it answers by. `user` and `secret`, a file, are who may come in, or our own password; `ca`, `certificate` and `key` are
/// files; `server` is the name in the server's certificate.
pub(crate) struct World {
    /// Whether addresses come from here.
    gives: bool,
    user: String,
    secret: Vec<u8>,
    own: Option<OwnCertificate>,
    anchors: Option<Arc<TrustAnchors>>,
    server: Option<Identity>,
    engine: Option<Engine>,
}

impl World {
    pub(crate) fn read(words: &Words) -> Result<Self, String> {
        let anchors = words.file("ca")?.map(|pem| TrustAnchors::from_content(&pem));
        let anchors = anchors.transpose().map_err(|e| format!("ca: {e}"))?.map(Arc::new);
        let own = match (words.file("certificate")?, words.file("key")?) {
            (Some(certificate), Some(key)) => Some(own(&certificate, key)?),
            _ => None,
        };
        let server = words.get("server").map(|name| name.parse().map_err(|_| format!("{name}: no name")));
        Ok(Self {
            gives: words.get("demand").is_some(),
            user: words.get("user").unwrap_or_default().to_owned(),
            secret: words.file("secret")?.unwrap_or_default().trim_ascii().to_vec(),
            own,
            anchors,
            server: server.transpose()?,
            engine: None,
        })
    }

    pub(crate) fn answer(&mut self, ask: Ask) -> Answer {
        match ask {
            Ask::Password { again: None, .. } => Answer::Secret(Ok(Secret::from(&*self.secret))),
            Ask::Password { again: Some(why), .. } => Answer::Secret(Err(refused(&why))),
            Ask::NewPassword { message } => Answer::Secret(Err(refused(&message))),
            Ask::Verify(claim) => {
                let known = (claim.name == self.user).then(|| KnownUser::with_password(self.password()));
                Answer::Verdict(Ok(claim.verify(known.flatten().as_ref())))
            }
            Ask::Eap(AuthenticatorAsk::User { identity }) => {
                let known = KnownUser::with_password(self.password()).filter(|_| identity == self.user);
                let clear = Some(self.password());
                Answer::EapUser(Ok(known.map(|known| UserSecret { hash: known.hash, expired: false, clear })))
            }
            Ask::EapPacket(_) | Ask::Eap(_) | Ask::StorePassword { .. } => {
                Answer::Stored(Err(refused("nothing is stored")))
            }
            Ask::Tls { method, ask } => Answer::Tls(self.tls(method, ask)),
            Ask::Network { .. } => Answer::Network(Ok(NetworkPlan {
                v4: Some(ADDRESSES).filter(|_| self.gives),
                v6: true,
                ..NetworkPlan::default()
            })),
            Ask::Compress(_) | Ask::Encrypted(_) => Answer::Compressed(Err(refused("there is no MPPE here"))),
            Ask::Install(_) => Answer::Installed(Ok(())),
        }
    }

    fn password(&self) -> Secret {
        Secret::from(&*self.secret)
    }

    fn tls(&mut self, method: Option<Method>, ask: adit_auth::eap::TlsAsk) -> TlsAnswer {
        let made = match self.engine.take() {
            Some(engine) => Ok(engine),
            None => self.engine_of(method),
        };
        match made {
            Ok(mut engine) => {
                let answer = eap::answer(&mut engine, ask);
                self.engine = Some(engine);
                answer
            }
            Err(failure) => TlsAnswer { failure: Some(failure), ..TlsAnswer::default() },
        }
    }

    fn engine_of(&self, method: Option<Method>) -> Result<Engine, Failure> {
        let (own, anchors) = (self.own.clone(), self.anchors.clone());
        match method {
            None => Engine::client(&ClientConfig {
                anchors: anchors.ok_or_else(|| refused("whom to trust is not said"))?,
                name: self.server.clone().ok_or_else(|| refused("who the server is is not said"))?,
                says_name: false,
                own,
                versions: Versions::Both,
            }),
            Some(method) => Engine::server(&ServerConfig {
                own: own.ok_or_else(|| refused("there is no certificate"))?,
                clients: anchors.filter(|_| method == Method::TLS),
                versions: Versions::Both,
            }),
        }
    }
}

fn own(certificate: &[u8], key: Vec<u8>) -> Result<OwnCertificate, String> {
    let chain = read_certificates(certificate).map_err(|e| format!("certificate: {e}"))?;
    let leaf = chain.first().ok_or("certificate: there is none")?;
    let random = ring::rand::SystemRandom::new();
    let signer = FileSigner::new(Secret::new(key), leaf, &random).map_err(|e| format!("key: {e}"))?;
    Ok(OwnCertificate { signer: Arc::new(signer), chain })
}

fn refused(text: &str) -> Failure {
    Failure::new(FailureCode::AuthenticationFailed, Step::Authenticate, text)
}
