//! A RADIUS server over TLS (RadSec, RFC 6614): one TCP connection for every 256 identifiers, made when something is to be
//! said, closed when it brings nothing, and made anew when it is lost. Nothing in a packet is hidden from whoever sees its
//! bytes: they are wiped.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use adit_auth::radius::Stream;
use adit_core::{Failure, FailureCode, Step};
use adit_pki::Strictness;
use adit_tls::{ClientConfig, Engine};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::door::Back;
use crate::revocation;
use crate::tls::shake_hands;

/// Connecting and shaking hands together have so long, and so has whatever is written. Whether the server's certificates have
/// been revoked is asked after that, and has its own time.
const PATIENCE: Duration = Duration::from_secs(5);
/// What TCP has sent has to be acknowledged within so long, or the connection is dead. Else TCP itself would wait a quarter of
/// an hour, and all questions with it.
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);
/// A connection that has brought nothing for so long is closed: it is not needed, or its other end has forgotten it.
const QUIET: Duration = Duration::from_secs(60);
/// What is read at once.
const PIECE: usize = 16 << 10;

/// What carries packets to a server.
pub(super) struct TlsLink {
    to: SocketAddr,
    config: Arc<ClientConfig>,
    back: Back,
    /// As [`QUIET`].
    quiet: Duration,
    /// It was told that there is no connection.
    told: bool,
}

/// A connection that is up.
struct Connection {
    stream: TcpStream,
    engine: Engine,
    packets: Stream,
    /// The authenticators of what went over it, by identifier.
    sent: Vec<Option<[u8; 16]>>,
}

impl TlsLink {
    pub(super) const fn new(to: SocketAddr, config: Arc<ClientConfig>, back: Back) -> Self {
        Self { to, config, back, quiet: QUIET, told: false }
    }

    /// Carries until nobody has anything to say any more.
    pub(super) async fn carry(mut self, mut payloads: mpsc::UnboundedReceiver<Zeroizing<Vec<u8>>>) {
        while let Some(payload) = payloads.recv().await {
            match Connection::open(self.to, &self.config).await {
                Ok(connection) => {
                    self.told = false;
                    if let Err(why) = self.speak(connection, payload, &mut payloads).await {
                        tracing::debug!(server = %self.to, "RADIUS over TLS: {why}");
                    }
                }
                Err(why) => {
                    if !std::mem::replace(&mut self.told, true) {
                        tracing::warn!(server = %self.to, code = %why.code, "RADIUS over TLS: {why}");
                    }
                    // As good as lost: it is sent again.
                    while payloads.try_recv().is_ok() {}
                }
            }
        }
    }

    /// Both ways, until the connection is over (an error), brings nothing, or nobody is there.
    async fn speak(
        &self,
        mut connection: Connection,
        first: Zeroizing<Vec<u8>>,
        payloads: &mut mpsc::UnboundedReceiver<Zeroizing<Vec<u8>>>,
    ) -> Result<(), Failure> {
        connection.send(&first).await?;
        let mut buffer = vec![0; PIECE];
        // Since when it has brought nothing, and whether it is its turn.
        let (mut since, mut asked) = (Instant::now(), true);
        loop {
            tokio::select! {
                payload = payloads.recv() => match payload {
                    Some(payload) => {
                        if !std::mem::replace(&mut asked, true) {
                            since = Instant::now();
                        }
                        connection.send(&payload).await?;
                    }
                    None => return connection.close().await,
                },
                () = tokio::time::sleep_until(since + self.quiet) => return connection.close().await,
                read = connection.stream.read(&mut buffer) => {
                    (since, asked) = (Instant::now(), false);
                    let length = read.map_err(|e| lost(&e.to_string()))?;
                    let records = buffer.get(..length).unwrap_or_default();
                    for packet in connection.take(records).await? {
                        if !self.back.give(packet).await {
                            return Ok(());
                        }
                    }
                }
            }
        }
    }
}

impl Connection {
    /// Connects, and knows who is there, and that it has not been revoked as far as anybody says.
    async fn open(to: SocketAddr, config: &ClientConfig) -> Result<Self, Failure> {
        let met = tokio::time::timeout(PATIENCE, Self::meet(to, config)).await;
        let mut connection = met.unwrap_or_else(|_| Err(lost("it does not answer in time")))?;
        revocation::check(connection.engine.questions(), Strictness::Soft).await?;
        connection.flush().await?;
        Ok(connection)
    }

    async fn meet(to: SocketAddr, config: &ClientConfig) -> Result<Self, Failure> {
        let mut stream = dial(to).await.map_err(|e| lost(&e.to_string()))?;
        let engine = shake_hands(&mut stream, Engine::client(config)?, lost).await?;
        Ok(Self { stream, engine, packets: Stream::default(), sent: vec![None; 256] })
    }

    /// Says a packet. What went over this connection already is on its way, and is not said again (RFC 6613 §2.6.1).
    async fn send(&mut self, packet: &[u8]) -> Result<(), Failure> {
        let (identifier, authenticator) = match packet {
            [_, identifier, _, _, rest @ ..] => (usize::from(*identifier), rest.first_chunk::<16>().copied()),
            _ => return Ok(()),
        };
        if let Some(sent) = self.sent.get_mut(identifier) {
            if *sent == authenticator {
                return Ok(());
            }
            *sent = authenticator;
        }
        self.engine.write(packet);
        self.flush().await
    }

    /// Records came, or the end: whole packets of them.
    async fn take(&mut self, records: &[u8]) -> Result<Vec<Zeroizing<Vec<u8>>>, Failure> {
        if records.is_empty() {
            return Err(closed());
        }
        self.engine.feed(records)?;
        self.flush().await?;
        let plain = self.engine.plaintext();
        self.packets.feed(plain.expose()).map_err(|e| lost(&e.to_string()))
    }

    async fn flush(&mut self) -> Result<(), Failure> {
        let records = self.engine.records();
        if records.is_empty() {
            return Ok(());
        }
        let written = tokio::time::timeout(PATIENCE, self.stream.write_all(&records)).await;
        let written: io::Result<()> = written.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        written.map_err(|e| lost(&e.to_string()))
    }

    async fn close(mut self) -> Result<(), Failure> {
        self.engine.close();
        self.flush().await
    }
}

async fn dial(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let patience = u32::try_from(UNACKNOWLEDGED.as_millis()).unwrap_or(u32::MAX);
    setsockopt(&stream, sockopt::TcpUserTimeout, &patience)?;
    Ok(stream)
}

fn lost(why: &str) -> Failure {
    Failure::new(FailureCode::ServerUnreachable, Step::Authenticate, format!("no connection: {why}"))
}

fn closed() -> Failure {
    lost("the server has closed it")
}

#[cfg(test)]
mod tests {
    use adit_auth::radius::ServerId;
    use adit_core::Secret;
    use adit_pki::{FileSigner, TrustAnchors};
    use adit_tls::{OwnCertificate, ServerConfig, Versions};
    use rcgen::{
        BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    };
    use ring::rand::SystemRandom;
    use tokio::net::TcpListener;

    use super::*;
    use crate::radius::door::Arrived;

    const NAME: &str = "radius.example.com";

    fn own(name: &str, usage: ExtendedKeyUsagePurpose) -> (OwnCertificate, Arc<TrustAnchors>) {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().to_vec();
        let anchors = Arc::new(TrustAnchors::from_content(&der).unwrap());
        let signer = FileSigner::new(Secret::new(key.serialize_der()), &der, &SystemRandom::new()).unwrap();
        (OwnCertificate { chain: vec![der], signer: Arc::new(signer) }, anchors)
    }

    fn server_own() -> (OwnCertificate, Arc<TrustAnchors>) {
        own(NAME, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A packet of this identifier; the authenticator tells two of them apart.
    fn packet(identifier: u8, authenticator: u8) -> Zeroizing<Vec<u8>> {
        Zeroizing::new([&[1, identifier, 0, 20][..], &[authenticator; 16]].concat())
    }

    /// The server's end of a connection that it has accepted.
    struct Peer(TcpStream, Engine);

    impl Peer {
        async fn accept(listener: &TcpListener, config: &ServerConfig) -> Self {
            Self(listener.accept().await.unwrap().0, Engine::server(config).unwrap())
        }

        /// What it hears next; `None`: the connection is over.
        async fn hears(&mut self) -> Option<Zeroizing<Vec<u8>>> {
            let mut buffer = vec![0; PIECE];
            loop {
                let length = self.0.read(&mut buffer).await.ok().filter(|length| *length > 0)?;
                let fed = self.1.feed(&buffer[..length]);
                self.0.write_all(&self.1.records()).await.ok()?;
                fed.ok()?;
                let plain = self.1.plaintext();
                if !plain.expose().is_empty() {
                    return Some(Zeroizing::new(plain.expose().to_vec()));
                }
            }
        }

        async fn says(&mut self, packet: &[u8]) {
            self.1.write(packet);
            self.0.write_all(&self.1.records()).await.unwrap();
        }
    }

    struct Bench {
        listener: TcpListener,
        payloads: mpsc::UnboundedSender<Zeroizing<Vec<u8>>>,
        arrived: mpsc::Receiver<Arrived>,
    }

    async fn bench(anchors: Arc<TrustAnchors>, name: &str, own: Option<OwnCertificate>) -> Bench {
        patient_bench(anchors, name, own, QUIET).await
    }

    async fn patient_bench(
        anchors: Arc<TrustAnchors>,
        name: &str,
        own: Option<OwnCertificate>,
        quiet: Duration,
    ) -> Bench {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (sender, arrived) = mpsc::channel(8);
        let (payloads, receiver) = mpsc::unbounded_channel();
        let name = name.parse().unwrap();
        let config = ClientConfig { anchors, name, says_name: true, own, versions: Versions::Both };
        let back = Back { server: ServerId(0), socket: 0, arrived: sender };
        let link = TlsLink::new(listener.local_addr().unwrap(), Arc::new(config), back);
        let link = TlsLink { quiet, ..link };
        tokio::spawn(link.carry(receiver));
        Bench { listener, payloads, arrived }
    }

    #[tokio::test]
    async fn packets_go_both_ways_once_for_each_connection_and_a_lost_one_is_made_anew() {
        let (own, anchors) = server_own();
        let config = ServerConfig { own, clients: None, versions: Versions::Both };
        let mut bench = bench(anchors, NAME, None).await;
        bench.payloads.send(packet(7, 1)).unwrap();
        let mut peer = Peer::accept(&bench.listener, &config).await;
        assert_eq!(peer.hears().await, Some(packet(7, 1)));
        // A retransmission is on its way already; another packet of the same number is not.
        bench.payloads.send(packet(7, 1)).unwrap();
        bench.payloads.send(packet(7, 2)).unwrap();
        assert_eq!(peer.hears().await, Some(packet(7, 2)));
        // Answers come in pieces of any size.
        peer.says(&[&*packet(7, 3), &packet(8, 4)[..5]].concat()).await;
        assert_eq!(bench.arrived.recv().await.unwrap().payload, packet(7, 3));
        peer.says(&packet(8, 4)[5..]).await;
        assert_eq!(bench.arrived.recv().await.unwrap().payload, packet(8, 4));
        // The server ends it; what is said again goes over the next connection.
        drop(peer);
        let mut peer = loop {
            bench.payloads.send(packet(7, 2)).unwrap();
            tokio::select! {
                peer = Peer::accept(&bench.listener, &config) => break peer,
                // It has not seen the end yet: the packet went into the dead connection.
                () = tokio::task::yield_now() => {}
            }
        };
        assert_eq!(peer.hears().await, Some(packet(7, 2)));
        // A length that no packet has ends the connection.
        peer.says(&[2, 7, 0, 3, 0, 0]).await;
        assert_eq!(peer.hears().await, None);
    }

    #[tokio::test]
    async fn a_server_that_is_somebody_else_hears_nothing() {
        let (own, anchors) = server_own();
        let (stranger, _) = server_own();
        for (own, name) in [(own, "other.example.com"), (stranger, NAME)] {
            let config = ServerConfig { own, clients: None, versions: Versions::Both };
            let bench = bench(Arc::clone(&anchors), name, None).await;
            bench.payloads.send(packet(7, 1)).unwrap();
            let mut peer = Peer::accept(&bench.listener, &config).await;
            assert_eq!(peer.hears().await, None, "{name}");
        }
    }

    #[tokio::test]
    async fn we_show_a_certificate_to_a_server_that_wants_one() {
        let (own_server, anchors) = server_own();
        let (ours, clients) = own("vpn.example.com", ExtendedKeyUsagePurpose::ClientAuth);
        let config = ServerConfig { own: own_server, clients: Some(clients), versions: Versions::Both };
        let bench = bench(anchors, NAME, Some(ours)).await;
        bench.payloads.send(packet(7, 1)).unwrap();
        let mut peer = Peer::accept(&bench.listener, &config).await;
        assert_eq!(peer.hears().await, Some(packet(7, 1)));
    }

    #[tokio::test]
    async fn a_connection_that_brings_nothing_is_closed_and_the_next_packet_goes_over_another() {
        let (own, anchors) = server_own();
        let config = ServerConfig { own, clients: None, versions: Versions::Both };
        let bench = patient_bench(anchors, NAME, None, Duration::from_millis(50)).await;
        for _ in 0..2 {
            bench.payloads.send(packet(7, 1)).unwrap();
            let mut peer = Peer::accept(&bench.listener, &config).await;
            assert_eq!(peer.hears().await, Some(packet(7, 1)));
            assert_eq!(peer.hears().await, None);
        }
    }

    #[tokio::test]
    async fn a_server_that_acknowledges_nothing_is_given_up_in_ten_seconds() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = dial(listener.local_addr().unwrap()).await.unwrap();
        assert_eq!(nix::sys::socket::getsockopt(&stream, sockopt::TcpUserTimeout).unwrap(), 10_000);
    }

    /// A server's certificate, by an authority that answers for it at `url`.
    fn of_an_authority(url: &str) -> (OwnCertificate, Arc<TrustAnchors>) {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = params.self_signed(&key).unwrap().der().to_vec();
        let issuer = Issuer::new(params, key);
        let mut params = CertificateParams::new([NAME.to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let tlv = |tag: u8, value: &[u8]| [&[tag, u8::try_from(value.len()).unwrap()], value].concat();
        // authorityInfoAccess (RFC 5280 §4.2.2.1): id-ad-ocsp, and a URI.
        let ocsp = [tlv(6, &[0x2b, 6, 1, 5, 5, 7, 0x30, 1]), tlv(0x86, url.as_bytes())].concat();
        let access =
            CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 1], tlv(0x30, &tlv(0x30, &ocsp)));
        params.custom_extensions = vec![access];
        let key = KeyPair::generate().unwrap();
        let der = params.signed_by(&key, &issuer).unwrap().der().to_vec();
        let signer = FileSigner::new(Secret::new(key.serialize_der()), &der, &SystemRandom::new()).unwrap();
        let anchors = Arc::new(TrustAnchors::from_content(&authority).unwrap());
        (OwnCertificate { chain: vec![der], signer: Arc::new(signer) }, anchors)
    }

    /// It takes as long as a question about a certificate may.
    #[tokio::test]
    async fn who_answers_for_the_servers_certificate_may_be_silent() {
        let responder = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (own, anchors) = of_an_authority(&format!("http://{}/", responder.local_addr().unwrap()));
        let config = ServerConfig { own, clients: None, versions: Versions::Both };
        let bench = bench(anchors, NAME, None).await;
        bench.payloads.send(packet(7, 1)).unwrap();
        let mut peer = Peer::accept(&bench.listener, &config).await;
        let (heard, asked) = tokio::join!(peer.hears(), async {
            let mut asked = responder.accept().await.unwrap().0;
            // Nothing is said; the end is when nobody waits any more.
            let mut question = Vec::new();
            asked.read_to_end(&mut question).await.unwrap();
            question
        });
        assert!(asked.starts_with(b"POST / "), "the responder was asked");
        assert_eq!(heard, Some(packet(7, 1)));
    }
}
