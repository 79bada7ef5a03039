//! SSTP: TLS, the call inside of it, and the call's PPP link ([MS-SSTP]). Who dials and who answers is common to what carries
//! PPP (`ppp`).

mod session;

use std::sync::Arc;
use std::time::Duration;

use adit_core::{Entropy as _, Failure, FailureCode, Secret, Step};
use adit_crypto::OsEntropy;
use adit_pki::TrustAnchors;
use adit_ppp::LinkConfig;
use adit_profile::{Profile, ServerName};
use adit_sstp::binding::{CertificateHashes, HashProtocol};
use adit_sstp::proxy::{Answer, Connect, Login};
use adit_sstp::{Config, Role, Timing};
use adit_tls::{ClientConfig, Engine, ServerConfig, Versions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::credentials::{OwnCertificate, strictness};
use crate::ppp::World;
use crate::revocation;
use crate::tls::{TlsStream, shake_hands};
use session::{Session, Start};

/// The longest packet inside, in octets, as Windows has it.
pub(crate) const MOST_MTU: u16 = 1400;
/// How long TLS's handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(30);

/// A TLS session for a call.
pub(crate) struct Outside {
    stream: TlsStream,
    certificate: CertificateHashes,
    /// What encrypts it, in words.
    pub(crate) cipher: String,
}

/// As client: the server has proven who it is, and its certificate has not been revoked as far as is known.
///
/// # Errors
/// It is somebody else, does not speak TLS, or does not answer.
pub(crate) async fn meet(
    tcp: TcpStream,
    profile: &Profile,
    gateway: &ServerName,
    anchors: &Arc<TrustAnchors>,
) -> Result<Outside, Failure> {
    let config = ClientConfig {
        anchors: Arc::clone(anchors),
        name: profile.identity_of(gateway),
        says_name: true,
        own: None,
        versions: Versions::Both,
    };
    let lost = |why: &str| match profile.proxy() {
        Some(_) => not_behind(gateway, why),
        None => broken(why),
    };
    let (tcp, engine) = in_time(tcp, Engine::client(&config)?, lost).await?;
    revocation::check(engine.questions(), strictness(profile.revocation)).await?;
    let tunnel = engine.tunnel();
    let shown = tunnel.as_ref().and_then(|tunnel| tunnel.certificates.first());
    let certificate = CertificateHashes::of(shown.ok_or_else(|| broken("the server has no certificate"))?);
    Ok(outside(tcp, engine, certificate))
}

/// As server.
///
/// # Errors
/// The client does not speak TLS, or does not accept our certificate.
pub(crate) async fn meet_client(mut tcp: TcpStream, own: &OwnCertificate) -> Result<Outside, Failure> {
    let own = own.for_tls();
    let certificate = CertificateHashes::of(own.chain.first().map(Vec::as_slice).unwrap_or_default());
    let config = ServerConfig { own, clients: None, versions: Versions::Both };
    let engine = Engine::server(&config)?;
    if speaks_in_clear(&tcp).await {
        let _ = tcp.write_all(IN_CLEAR).await;
        return Err(broken("it speaks HTTP, and no TLS before it"));
    }
    let (tcp, engine) = in_time(tcp, engine, broken).await?;
    Ok(outside(tcp, engine, certificate))
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
    let cipher = engine.cipher().unwrap_or_default();
    Outside { stream: TlsStream::new(tcp, engine), certificate, cipher }
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

/// Asks a proxy. `None`: the connection leads to the server; or what to say on another connection to the proxy.
///
/// # Errors
/// It does not connect, or does not answer.
pub(crate) async fn ask_proxy(
    tcp: &mut TcpStream,
    connect: &mut Connect,
    words: &Secret,
) -> Result<Option<Secret>, Failure> {
    let asked = tokio::time::timeout(PROXY, async {
        tcp.write_all(words.expose()).await.map_err(|e| no_proxy(&e.to_string()))?;
        let mut buffer = [0; 2048];
        loop {
            let length = tcp.read(&mut buffer).await.map_err(|e| no_proxy(&e.to_string()))?;
            let octets = buffer.get(..length).filter(|octets| !octets.is_empty());
            match connect.received(octets.ok_or_else(|| no_proxy("it has closed the connection"))?) {
                Answer::More => {}
                Answer::Open => return Ok(None),
                Answer::Again(words) => return Ok(Some(words)),
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
pub(crate) fn answer(
    outside: Outside,
    hashes: Vec<HashProtocol>,
    link: LinkConfig,
    world: Arc<dyn World>,
) -> Session {
    let mut nonce = [0; 32];
    OsEntropy::new().public(&mut nonce);
    session(outside, Role::Server { nonce, hashes }, MOST_MTU, link, world)
}

fn session(outside: Outside, role: Role, mtu: u16, link: LinkConfig, world: Arc<dyn World>) -> Session {
    let config = Config { role, certificate: outside.certificate, timing: Timing::default() };
    Session::new(config, outside.stream, Start { mtu, link, world })
}
