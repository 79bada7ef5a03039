//! RADIUS servers: the pure client of `adit-auth`, driven; what they are told of sessions, and what they may ask.

mod door;
mod dynamic;
mod keep;
mod session;
mod tls;
mod told;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use adit_auth::radius::{Attribute, Query, Server, ServerId, Verdict, attribute};
use adit_core::{Failure, Path, Secret};
use adit_pki::TrustAnchors;
use adit_profile::{Aaa, KeySource, RadiusSecurity, RadiusServer, RadiusTls, ServerConfig};
use adit_tls::{ClientConfig, Versions};
use ring::digest;

use crate::credentials::{OwnCertificate, system_anchors};
use crate::files::Files;
use door::{Door, Way};

use dynamic::{Listener, Standing};
pub(crate) use keep::keep;
pub(crate) use session::{Cause, Grant, Limits, Session};
pub(crate) use told::ToldSession;

/// How long the servers have, at the end, to take note of the last sessions.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// What the servers of this daemon, whatever they speak, have in common with RADIUS servers: one client, one list of sessions,
/// one port.
#[derive(Debug)]
pub(crate) struct RadiusBook {
    standing: Arc<Standing>,
    latest: Mutex<Weak<Radius>>,
    listener: tokio::sync::Mutex<Option<Listener>>,
}

impl RadiusBook {
    pub(crate) fn new() -> Self {
        Self { standing: Standing::new(), latest: Mutex::default(), listener: tokio::sync::Mutex::default() }
    }

    /// The servers of a configuration, if it has some: those that are asked already, where they are the same.
    ///
    /// # Errors
    /// A secret that cannot be read.
    pub(crate) fn of(&self, config: &ServerConfig, files: &Files) -> Result<Option<Arc<Radius>>, Failure> {
        let identity = config.ikev2.identity.as_ref().map_or_else(|| "adit".to_owned(), ToString::to_string);
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let before = latest.upgrade();
        let radius = Radius::new(&config.aaa, files, &identity, before.as_ref(), &self.standing)?;
        *latest = radius.as_ref().map(Arc::downgrade).unwrap_or_default();
        Ok(radius)
    }

    /// Listens on this port to what servers ask unasked, or no more.
    ///
    /// # Errors
    /// The port is taken.
    pub(crate) async fn listen(&self, port: Option<u16>) -> Result<(), Failure> {
        let radius = self.latest.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        let mut listener = self.listener.lock().await;
        let wanted = port.zip(radius.as_ref());
        if let (Some(there), Some((port, radius))) = (listener.as_ref(), wanted)
            && there.is_for(port, radius)
        {
            return Ok(());
        }
        if let Some(before) = listener.take() {
            before.close().await;
        }
        if let Some((port, radius)) = wanted {
            *listener = Some(Listener::bind(port, radius).await?);
        }
        Ok(())
    }
}

/// The servers of a configuration, and what is on its way to them.
pub(crate) struct Radius {
    aaa: Aaa,
    /// In the order of `aaa.servers`.
    securities: Vec<Security>,
    access: Door,
    accounting: Option<Door>,
    name: String,
    standing: Arc<Standing>,
}

impl Radius {
    /// Reads the secrets. `before` is taken where it is the same: what waits there goes on waiting. Its sessions stand among
    /// those of `standing`.
    ///
    /// # Errors
    /// A secret that cannot be read.
    pub(crate) fn new(
        aaa: &Aaa,
        files: &Files,
        identity: &str,
        before: Option<&Arc<Self>>,
        standing: &Arc<Standing>,
    ) -> Result<Option<Arc<Self>>, Failure> {
        if aaa.servers.is_empty() {
            return Ok(None);
        }
        let read = |s: &RadiusServer| Security::read(&s.security, files);
        let securities = aaa.servers.iter().map(read).collect::<Result<Vec<_>, Failure>>()?;
        let same = |before: &&Arc<Self>| {
            before.aaa == *aaa && before.securities.iter().zip(&securities).all(|(a, b)| a.same(b))
        };
        if let Some(before) = before.filter(same) {
            return Ok(Some(Arc::clone(before)));
        }
        let servers = |port: fn(&RadiusServer) -> u16| {
            let server = |(s, security): (&RadiusServer, &Security)| {
                security.server(SocketAddr::new(s.address, port(s)))
            };
            aaa.servers.iter().zip(&securities).map(server).collect::<Vec<_>>()
        };
        let patience = (aaa.timeout, aaa.tries);
        Ok(Some(Arc::new(Self {
            access: Door::open(servers(|s| s.port), patience),
            accounting: aaa.accounting.then(|| Door::open(servers(|s| s.accounting_port), patience)),
            name: aaa.nas_identifier.clone().unwrap_or_else(|| identity.to_owned()),
            aaa: aaa.clone(),
            securities,
            standing: Arc::clone(standing),
        })))
    }

    /// Asks whether a peer is let in.
    pub(crate) async fn access(
        &self,
        attributes: Vec<Attribute>,
        eap: Vec<u8>,
        state: Option<(ServerId, Vec<u8>)>,
    ) -> Verdict {
        self.access.ask(Query::Access { attributes, eap: Some(eap), password: None, state }).await
    }

    /// Asks whether a PPP peer is let in, by what `attributes` say of its proof.
    pub(crate) async fn proven(&self, attributes: Vec<Attribute>) -> Verdict {
        self.access.ask(Query::Access { attributes, eap: None, password: None, state: None }).await
    }

    /// Tells of a session. It is told, sooner or later, whether or not a server is there now.
    fn account(&self, attributes: Vec<Attribute>, interim: bool) {
        if let Some(door) = &self.accounting {
            door.tell(Query::Accounting { attributes, interim });
        }
    }

    /// At the end: the servers have a little to take note of the last sessions.
    pub(crate) async fn last_words(&self) {
        if let Some(door) = &self.accounting
            && tokio::time::timeout(LAST_WORDS, door.idle()).await.is_err()
        {
            tracing::warn!("accounting records are lost: no RADIUS server takes note of them");
        }
    }

    /// What every request says of us and of where the peer is.
    pub(crate) fn about(&self, user: &[u8], session: &str, path: Path) -> Vec<Attribute> {
        let mut out = vec![
            (attribute::USER_NAME, user.to_vec()),
            (attribute::NAS_IDENTIFIER, self.name.clone().into_bytes()),
            // Virtual (RFC 2865 §5.41), and framed.
            (attribute::NAS_PORT_TYPE, 5_u32.to_be_bytes().to_vec()),
            (attribute::SERVICE_TYPE, 2_u32.to_be_bytes().to_vec()),
            (attribute::ACCT_SESSION_ID, session.as_bytes().to_vec()),
            (attribute::CALLING_STATION_ID, path.remote.ip().to_string().into_bytes()),
            (attribute::CALLED_STATION_ID, path.local.ip().to_string().into_bytes()),
        ];
        out.push(match path.local.ip() {
            IpAddr::V4(a) => (attribute::NAS_IP_ADDRESS, a.octets().to_vec()),
            IpAddr::V6(a) => (attribute::NAS_IPV6_ADDRESS, a.octets().to_vec()),
        });
        out
    }

    /// A session's number, never used twice.
    pub(crate) fn session_id(&self) -> String {
        self.standing.number()
    }

    /// The secret of the server at this address, which speaks by datagrams.
    fn secret_of(&self, address: IpAddr) -> Option<&Secret> {
        let servers = self.aaa.servers.iter().zip(&self.securities);
        servers.filter(|(s, _)| s.address == address.to_canonical()).find_map(
            |(_, security)| match security {
                Security::Secret(secret) => Some(secret),
                // Its secret is no secret: what comes as a datagram is not from it.
                Security::Tls { .. } => None,
            },
        )
    }
}

/// The secret of every server that is spoken to over TLS (RFC 6614 §2.3): the certificates are what counts.
const RADSEC: &[u8] = b"radsec";

/// What keeps others out, read.
enum Security {
    Secret(Secret),
    Tls {
        config: Arc<ClientConfig>,
        /// What its files hold.
        print: Vec<u8>,
    },
}

impl Security {
    fn read(security: &RadiusSecurity, files: &Files) -> Result<Self, Failure> {
        let tls = match security {
            RadiusSecurity::Secret(file) => return files.secret(file).map(Self::Secret),
            RadiusSecurity::Tls(tls) => tls,
        };
        let RadiusTls { name, ca, certificate, key, key_password } = &**tls;
        let mut print = digest::Context::new(&digest::SHA256);
        let mut add = |content: &[u8]| {
            print.update(&content.len().to_be_bytes());
            print.update(content);
        };
        let anchors = match ca.as_slice() {
            [] => system_anchors()?,
            ca => {
                let content = files.certificates(ca)?;
                add(&content);
                TrustAnchors::from_content(&content)?
            }
        };
        let own = match key.clone().map(KeySource::File) {
            Some(key) => {
                let (certificates, key) = (files.certificates(certificate)?, files.key(&key)?);
                add(&certificates);
                add(key.expose());
                let password = key_password.as_ref().map(|file| files.key_password(file)).transpose()?;
                Some(OwnCertificate::of_content(&certificates, key, password)?.for_tls())
            }
            None => None,
        };
        let (anchors, name) = (Arc::new(anchors), name.clone());
        let config = ClientConfig { anchors, name, says_name: true, own, versions: Versions::Both };
        Ok(Self::Tls { config: Arc::new(config), print: print.finish().as_ref().to_vec() })
    }

    /// Whether the files still say so.
    fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Secret(a), Self::Secret(b)) => a.equals(b.expose()),
            (Self::Tls { print: a, .. }, Self::Tls { print: b, .. }) => a == b,
            (Self::Secret(_), Self::Tls { .. }) | (Self::Tls { .. }, Self::Secret(_)) => false,
        }
    }

    fn server(&self, at: SocketAddr) -> (Way, Server) {
        match self {
            Self::Secret(secret) => {
                (Way::Udp(at), Server { name: at.to_string(), secret: secret.duplicate() })
            }
            Self::Tls { config, .. } => {
                let name = format!("{at} (TLS)");
                (Way::Tls(at, Arc::clone(config)), Server { name, secret: Secret::from(RADSEC) })
            }
        }
    }
}
