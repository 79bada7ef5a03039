use std::io::{BufRead as _, Read as _, Write as _};
use std::sync::Arc;

use adit_auth::eap::TlsVersion;
use adit_core::{Failure, Secret, WallTime};
use adit_pki::Question;
use rustls::{
    ClientConnection, Connection, HandshakeKind, ProtocolVersion, ServerConnection, SupportedProtocolVersion,
};
use rustls_pki_types::{ServerName, UnixTime};
use zeroize::Zeroizing;

use crate::client::Verifier;
use crate::config::{ClientConfig, ServerConfig, Versions};
use crate::explain::{Verdict, explain, internal};
use crate::{client, server};

/// One side of a TLS session.
///
/// Feed it what came ([`Engine::feed`]), and then take what goes out ([`Engine::records`]) and what was said
/// ([`Engine::plaintext`]): an error leaves an alert among the records.
pub struct Engine {
    connection: Connection,
    verdict: Arc<Verdict>,
    /// Looks at the certificates of a session that is taken up again, until it has.
    verifier: Option<Arc<Verifier>>,
    /// What the other side has said, until it is asked for: rustls keeps little of it.
    plain: Zeroizing<Vec<u8>>,
}

/// A handshake that is complete.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tunnel {
    /// Which TLS it is.
    pub version: TlsVersion,
    /// The other side's certificates as it sent them, its own first, DER. Verified. Empty: it sent none.
    pub certificates: Vec<Vec<u8>>,
}

impl Engine {
    /// A client. Its first records are there at once.
    ///
    /// # Errors
    /// That our own certificate is unusable.
    pub fn client(config: &ClientConfig) -> Result<Self, Failure> {
        let (ours, verifier) = client::config(config)?;
        let connection = ClientConnection::new(Arc::new(ours), client::server_name(&config.name))
            .map_err(|e| internal(&e))?;
        Ok(Self::new(connection.into(), Arc::clone(verifier.verdict())))
    }

    /// A server.
    ///
    /// # Errors
    /// That our own certificate is unusable.
    pub fn server(config: &ServerConfig) -> Result<Self, Failure> {
        let verdict = Arc::new(Verdict::default());
        let ours = server::config(config, &verdict)?;
        let connection = ServerConnection::new(Arc::new(ours)).map_err(|e| internal(&e))?;
        Ok(Self::new(connection.into(), verdict))
    }

    pub(crate) fn new(mut connection: Connection, verdict: Arc<Verdict>) -> Self {
        // What is written is taken out at once: the caller's own bounds count.
        connection.set_buffer_limit(None);
        Self { connection, verdict, verifier: None, plain: Zeroizing::default() }
    }

    pub(crate) fn returning(connection: Connection, verifier: Arc<Verifier>) -> Self {
        let verdict = Arc::clone(verifier.verdict());
        Self { verifier: Some(verifier), ..Self::new(connection, verdict) }
    }

    /// Records came, in pieces of any size.
    ///
    /// # Errors
    /// Why the session is over. An alert that says so to the other side is among the records.
    pub fn feed(&mut self, mut records: &[u8]) -> Result<(), Failure> {
        while !records.is_empty() {
            match self.connection.read_tls(&mut records) {
                // The other side has closed; nothing more is read.
                Ok(0) => break,
                Ok(_) => {}
                Err(e) => return Err(internal(&e)),
            }
            match self.connection.process_new_packets() {
                Ok(state) => self.take(state.plaintext_bytes_to_read()),
                Err(e) => return Err(explain(&e, &self.verdict)),
            }
            self.look_again()?;
        }
        Ok(())
    }

    /// The same, and what the other side says goes to `hear` as it comes, in pieces of any size: nothing of it is copied, kept or
    /// wiped.
    ///
    /// # Errors
    /// As [`Engine::feed`].
    pub fn listen(&mut self, mut records: &[u8], mut hear: impl FnMut(&[u8])) -> Result<(), Failure> {
        while !records.is_empty() {
            match self.connection.read_tls(&mut records) {
                Ok(0) => break,
                Ok(_) => {}
                Err(e) => return Err(internal(&e)),
            }
            self.connection.process_new_packets().map_err(|e| explain(&e, &self.verdict))?;
            self.look_again()?;
            let mut reader = self.connection.reader();
            while let Ok(octets) = reader.fill_buf() {
                let length = octets.len();
                if length == 0 {
                    break;
                }
                hear(octets);
                reader.consume(length);
            }
        }
        Ok(())
    }

    /// What a full handshake checks, where there was none.
    fn look_again(&mut self) -> Result<(), Failure> {
        if self.connection.is_handshaking() {
            return Ok(());
        }
        let Some(verifier) = self.verifier.take().filter(|_| self.is_resumed()) else { return Ok(()) };
        let certificates = self.connection.peer_certificates().unwrap_or_default();
        let chain: Vec<Vec<u8>> = certificates.iter().map(|c| c.to_vec()).collect();
        verifier.look(&chain, WallTime(UnixTime::now().as_secs())).map_err(|error| {
            self.connection.send_close_notify();
            explain(&error, &self.verdict)
        })
    }

    /// Whether the session is one of before, taken up again by a ticket.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.connection.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The host that the client has named (server_name, RFC 6066 §3). `None` of a client.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        match &self.connection {
            Connection::Server(server) => server.server_name(),
            Connection::Client(_) => None,
        }
    }

    /// The records that go to the other side.
    pub fn records(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        self.records_into(&mut out);
        out
    }

    /// The same, behind what is in `out` already.
    pub fn records_into(&mut self, out: &mut Vec<u8>) {
        while self.connection.wants_write() {
            // Writing into memory does not fail.
            if !matches!(self.connection.write_tls(out), Ok(1..)) {
                break;
            }
        }
    }

    /// What encrypts it, in words: `TLS 1.3, AES-256-GCM`. `None` before the handshake is complete.
    #[must_use]
    pub fn cipher(&self) -> Option<String> {
        let version = match self.tunnel()?.version {
            TlsVersion::Tls12 => "TLS 1.2",
            TlsVersion::Tls13 => "TLS 1.3",
        };
        let suite = format!("{:?}", self.connection.negotiated_cipher_suite()?.suite());
        let cipher = ["AES_256_GCM", "AES_128_GCM", "CHACHA20_POLY1305"];
        let cipher = cipher.into_iter().find(|cipher| suite.contains(cipher)).unwrap_or(&suite);
        Some(format!("{version}, {}", cipher.replace('_', "-")))
    }

    /// What the other side has said since the last call.
    pub fn plaintext(&mut self) -> Secret {
        let waiting =
            self.connection.process_new_packets().map_or(0, |state| state.plaintext_bytes_to_read());
        self.take(waiting);
        let plain = std::mem::take(&mut *self.plain);
        Secret::new(plain)
    }

    fn take(&mut self, length: usize) {
        let at = self.plain.len();
        // What is left behind by growing is wiped.
        if self.plain.capacity() < at.saturating_add(length) {
            let mut more = Zeroizing::new(Vec::with_capacity(at.saturating_add(length).saturating_mul(2)));
            more.extend_from_slice(&self.plain);
            self.plain = more;
        }
        self.plain.resize(at.saturating_add(length), 0);
        let room = self.plain.get_mut(at..).unwrap_or_default();
        let read = self.connection.reader().read(room).unwrap_or(0);
        self.plain.truncate(at.saturating_add(read));
    }

    /// Says something to the other side. Before the handshake is complete it waits for that.
    pub fn write(&mut self, plaintext: &[u8]) {
        // Writing into memory does not fail, and there is no limit.
        let _ = self.connection.writer().write_all(plaintext);
    }

    /// Says that nothing more will be said (close_notify).
    pub fn close(&mut self) {
        self.connection.send_close_notify();
    }

    /// The handshake, once it is complete.
    #[must_use]
    pub fn tunnel(&self) -> Option<Tunnel> {
        if self.connection.is_handshaking() {
            return None;
        }
        let version = match self.connection.protocol_version()? {
            ProtocolVersion::TLSv1_2 => TlsVersion::Tls12,
            _ => TlsVersion::Tls13,
        };
        let certificates = self.connection.peer_certificates().unwrap_or_default();
        Some(Tunnel { version, certificates: certificates.iter().map(|c| c.to_vec()).collect() })
    }

    /// What is to be asked of others about the other side's certificates, once the handshake is complete: whether one has
    /// been revoked. Nothing here asks.
    #[must_use]
    pub fn questions(&self) -> Vec<Question> {
        self.verdict.questions()
    }

    /// Key material that only the two sides have (RFC 5705, RFC 8446 §7.5). `None` before the handshake is complete.
    #[must_use]
    pub fn export(&self, label: &str, context: Option<&[u8]>, length: usize) -> Option<Secret> {
        let out = vec![0; length];
        self.connection.export_keying_material(out, label.as_bytes(), context).ok().map(Secret::new)
    }
}

static ONLY_12: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS12];
static ONLY_13: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];

impl Versions {
    pub(crate) const fn list(self) -> &'static [&'static SupportedProtocolVersion] {
        match self {
            Self::Both => rustls::ALL_VERSIONS,
            Self::Only12 => &ONLY_12,
            Self::Only13 => &ONLY_13,
        }
    }
}

/// rustls wants some name; ours is checked by our verifier.
pub(crate) fn nobody() -> ServerName<'static> {
    ServerName::IpAddress(core::net::IpAddr::V4(core::net::Ipv4Addr::UNSPECIFIED).into())
}
