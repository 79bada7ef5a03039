//! SSTP: TLS, the call inside of it, and the call's PPP link ([MS-SSTP]). Who dials and who answers is common to what carries
//! PPP (`ppp`).

mod session;

use std::sync::Arc;
use std::time::Duration;

use adit_core::{Entropy as _, Failure, FailureCode, Secret, Step};
use adit_crypto::OsEntropy;
use adit_pki::TrustAnchors;
use adit_ppp::LinkConfig;
use adit_profile::{FrontSocket, Profile, Revocation, ServerName};
use adit_sstp::binding::{CertificateHashes, HashProtocol};
use adit_sstp::forwarded::{self, Origin, Progress};
use adit_sstp::proxy::{Answer, Connect, Login};
use adit_sstp::{Config, Role, Timing};
use adit_tls::{ClientConfig, Engine, Listener, Returning, Versions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::credentials::strictness;
use crate::ppp::World;
use crate::revocation;
use crate::tls::{TlsStream, shake_hands};
use crate::wire::Wire;
use session::{Session, Start};

/// The longest packet inside, in octets, as Windows has it.
pub(crate) const MOST_MTU: u16 = 1400;
/// How long TLS's handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(30);

/// A TLS session for a call.
pub(crate) struct Outside {
    stream: TlsStream,
    certificate: CertificateHashes,
    /// What a log-in can be bound to it by, best first.
    hashes: Vec<HashProtocol>,
    /// What encrypts it, in words.
    pub(crate) cipher: String,
}

/// The servers that a connection has met: it comes back to them with the tickets that they have given.
#[derive(Default)]
pub(crate) struct Met(Vec<(ServerName, Returning)>);

impl Met {
    /// What is known of that one, for one more session.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub(crate) fn server(
        &mut self,
        profile: &Profile,
        gateway: &ServerName,
        anchors: &Arc<TrustAnchors>,
    ) -> Result<Engine, Failure> {
        if let Some((_, server)) = self.0.iter().find(|(name, _)| name == gateway) {
            return server.engine(anchors);
        }
        let config = ClientConfig {
            anchors: Arc::clone(anchors),
            name: profile.identity_of(gateway),
            says_name: true,
            own: None,
            versions: Versions::Both,
        };
        let server = Returning::new(&config)?;
        let engine = server.engine(anchors);
        self.0.push((gateway.clone(), server));
        engine
    }
}

/// As client: the server has proven who it is, and its certificate has not been revoked as far as is known. `answered` is told
/// when TLS stands, and with which certificate, before anybody is asked about that.
///
/// # Errors
/// It is somebody else, does not speak TLS, or does not answer.
pub(crate) async fn meet(
    tcp: TcpStream,
    engine: Engine,
    gateway: &ServerName,
    behind_proxy: bool,
    revocation: Revocation,
    answered: impl Fn(Option<&Vec<u8>>),
) -> Result<Outside, Failure> {
    let lost = |why: &str| match behind_proxy {
        true => not_behind(gateway, why),
        false => broken(why),
    };
    let (tcp, engine) = in_time(tcp, engine, lost).await?;
    let tunnel = engine.tunnel();
    let shown = tunnel.as_ref().and_then(|tunnel| tunnel.certificates.first());
    answered(shown);
    revocation::check(engine.questions(), strictness(revocation)).await?;
    let certificate = CertificateHashes::of(shown.ok_or_else(|| broken("the server has no certificate"))?);
    Ok(outside(tcp, engine, certificate))
}

/// As server.
///
/// # Errors
/// The client does not speak TLS, or does not accept our certificate.
pub(crate) async fn meet_client(mut tcp: TcpStream, listener: &Listener) -> Result<Outside, Failure> {
    let engine = listener.engine()?;
    if speaks_in_clear(&tcp).await {
        let _ = tcp.write_all(IN_CLEAR).await;
        // What is not read would make a reset of the end, and the answer might be lost with it.
        let _ = tcp.try_read(&mut [0; 4096]);
        return Err(broken("it speaks HTTP, and no TLS before it"));
    }
    let (tcp, engine) = in_time(tcp, engine, broken).await?;
    let certificate = CertificateHashes::of(listener.shown(&engine));
    Ok(outside(tcp, engine, certificate))
}

/// As server, where somebody else ends TLS.
pub(crate) fn meet_by_socket(wire: Wire, socket: &FrontSocket) -> Outside {
    let hashes =
        [(HashProtocol::Sha256, socket.sha256.is_some()), (HashProtocol::Sha1, socket.sha1.is_some())];
    Outside {
        stream: TlsStream::ended_elsewhere(wire),
        certificate: CertificateHashes::known(socket.sha256, socket.sha1),
        hashes: hashes.into_iter().filter(|(_, known)| *known).map(|(hash, _)| hash).collect(),
        cipher: "TLS ended by another program".into(),
    }
}

/// How long a load balancer may take to say whose connection it passes on.
const FORWARDED: Duration = Duration::from_secs(10);

/// What a load balancer says of a connection before anything else.
pub(crate) async fn origin(wire: &mut Wire) -> Result<Origin, Failure> {
    let wrong = |why: &str| {
        let text =
            format!("it is in `proxy-protocol`, and does not say whose connection it passes on: {why}");
        Failure::new(FailureCode::PeerMisbehaved, Step::Call, text)
            .hint("let it send a header of the PROXY protocol (haproxy: send-proxy or send-proxy-v2), or take it out there")
    };
    let reading = async {
        let mut header = Vec::new();
        loop {
            match forwarded::read(&header).map_err(|error| wrong(&error.to_string()))? {
                Progress::Done(origin) => return Ok(origin),
                Progress::More(count) => {
                    let at = header.len();
                    header.resize(at.saturating_add(count), 0);
                    let room = header.get_mut(at..).unwrap_or_default();
                    wire.read_exact(room).await.map_err(|error| wrong(&error.to_string()))?;
                }
            }
        }
    };
    tokio::time::timeout(FORWARDED, reading).await.unwrap_or_else(|_| Err(wrong("it says nothing")))
}

/// What a client gets that begins in clear.
const IN_CLEAR: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 40\r\n\
                          Connection: close\r\n\r\nThis port speaks HTTPS: begin with TLS.\n";

/// A record of TLS begins with its type, which is no letter.
async fn speaks_in_clear(tcp: &TcpStream) -> bool {
    let mut first = [0];
    let peeked = tokio::time::timeout(HANDSHAKE, tcp.peek(&mut first)).await;
    matches!(peeked, Ok(Ok(1))) && first.iter().all(u8::is_ascii_uppercase)
}

async fn in_time(
    mut tcp: TcpStream,
    engine: Engine,
    lost: impl Fn(&str) -> Failure,
) -> Result<(TcpStream, Engine), Failure> {
    let met = tokio::time::timeout(HANDSHAKE, shake_hands(&mut tcp, engine, &lost)).await;
    let engine = met.unwrap_or_else(|_| Err(lost("it takes TCP's connection and then says nothing")))?;
    Ok((tcp, engine))
}

fn outside(tcp: TcpStream, engine: Engine, certificate: CertificateHashes) -> Outside {
    let again = if engine.is_resumed() { " by a ticket" } else { "" };
    let cipher = format!("{}{again}", engine.cipher().unwrap_or_default());
    let hashes = vec![HashProtocol::Sha256, HashProtocol::Sha1];
    Outside { stream: TlsStream::new(tcp, engine), certificate, hashes, cipher }
}

fn broken(why: &str) -> Failure {
    Failure::new(FailureCode::ServerUnreachable, Step::Call, format!("no TLS: {why}"))
        .hint("is that SSTP's port, and does nothing in between break TLS off?")
}

/// A proxy may say that the connection stands and then find that it does not (squid 6.13, where nobody has the address).
fn not_behind(gateway: &ServerName, why: &str) -> Failure {
    let text = format!(
        "the proxy does not reach {}: it said that it does, and then there was no TLS: {why}",
        target(gateway)
    );
    Failure::new(FailureCode::ServerUnreachable, Step::Call, text)
        .hint("is that SSTP's server and its port, and may the proxy connect there?")
}

/// The gateway, with its port.
fn target(gateway: &ServerName) -> ServerName {
    ServerName { host: gateway.host.clone(), port: Some(gateway.port.unwrap_or(adit_sstp::PORT)) }
}

/// How long a proxy may take: it connects to the server meanwhile.
const PROXY: Duration = Duration::from_secs(30);

/// A proxy's work: a connection to that gateway.
pub(crate) fn connect(gateway: &ServerName, login: Option<Login>) -> Connect {
    let mut cnonce = [0; 16];
    OsEntropy::new().public(&mut cnonce);
    Connect::new(target(gateway).to_string(), login, cnonce)
}

/// What a proxy has said.
pub(crate) enum Asked {
    /// The connection leads to the server.
    Open,
    /// On another connection to the proxy this is to be said.
    Again(Secret),
    /// It wants to know who asks; that is why it ends here if nobody says.
    Who(Failure),
}

/// Asks a proxy.
///
/// # Errors
/// It does not connect, or does not answer.
pub(crate) async fn ask_proxy(
    tcp: &mut TcpStream,
    connect: &mut Connect,
    words: &Secret,
) -> Result<Asked, Failure> {
    let asked = tokio::time::timeout(PROXY, async {
        tcp.write_all(words.expose()).await.map_err(|e| no_proxy(&e.to_string()))?;
        let mut buffer = [0; 2048];
        loop {
            let length = tcp.read(&mut buffer).await.map_err(|e| no_proxy(&e.to_string()))?;
            let octets = buffer.get(..length).filter(|octets| !octets.is_empty());
            match connect.received(octets.ok_or_else(|| no_proxy("it has closed the connection"))?) {
                Answer::More => {}
                Answer::Open => return Ok(Asked::Open),
                Answer::Again(words) => return Ok(Asked::Again(words)),
                Answer::Who(why) => return Ok(Asked::Who(why)),
                Answer::Refused(why) => return Err(why),
            }
        }
    });
    asked.await.unwrap_or_else(|_| Err(no_proxy("it does not answer")))
}

fn no_proxy(why: &str) -> Failure {
    Failure::new(FailureCode::ServerUnreachable, Step::Call, format!("the proxy does not connect: {why}"))
        .hint("is that an HTTP proxy, and may this host use it?")
}

/// A session that dials, inside of TLS.
pub(crate) fn dial(
    outside: Outside,
    gateway: &ServerName,
    mtu: u16,
    link: LinkConfig,
    world: Arc<dyn World>,
) -> Session {
    let mut correlation = [0; 16];
    OsEntropy::new().public(&mut correlation);
    let host = match gateway.port {
        None | Some(adit_sstp::PORT) => gateway.host.to_string(),
        Some(_) => gateway.to_string(),
    };
    session(outside, Role::Client { host, correlation }, mtu, link, world)
}

/// One that answers.
pub(crate) fn answer(mut outside: Outside, link: LinkConfig, world: Arc<dyn World>) -> Session {
    let mut nonce = [0; 32];
    OsEntropy::new().public(&mut nonce);
    let hashes = std::mem::take(&mut outside.hashes);
    session(outside, Role::Server { nonce, hashes }, MOST_MTU, link, world)
}

fn session(outside: Outside, role: Role, mtu: u16, link: LinkConfig, world: Arc<dyn World>) -> Session {
    let config = Config { role, certificate: outside.certificate, timing: Timing::default() };
    Session::new(config, outside.stream, Start { mtu, link, world })
}
