//! TLS over TCP: the handshake of an engine, whose public-key work goes to the blocking pool, and the stream after it.

use std::io;

use adit_core::Failure;
use adit_ppp_kernel::scratch;
use adit_tls::Engine;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::wire::Wire;

/// What is read at once.
const PIECE: usize = 16 << 10;
/// What goes into one record at most (RFC 8446 §5.1).
const RECORD: usize = 16 << 10;
/// Octets that wait to be sent, from which on nothing that can wait is added.
const FULL: usize = 128 << 10;

/// Shakes hands. `lost` says what it means that the connection breaks.
///
/// # Errors
/// The connection breaks, or one side does not accept the other, which has then been told.
pub(crate) async fn shake_hands(
    tcp: &mut TcpStream,
    mut engine: Engine,
    lost: impl Fn(&str) -> Failure,
) -> Result<Engine, Failure> {
    let mut buffer = vec![0; PIECE];
    loop {
        let records = engine.records();
        tcp.write_all(&records).await.map_err(|e| lost(&e.to_string()))?;
        if engine.tunnel().is_some() {
            return Ok(engine);
        }
        let length = tcp.read(&mut buffer).await.map_err(|e| lost(&e.to_string()))?;
        let records = buffer.get(..length).filter(|r| !r.is_empty()).map(<[u8]>::to_vec);
        let records = records.ok_or_else(|| lost("the other side has closed it"))?;
        let work = move || {
            let fed = engine.feed(&records);
            (engine, fed)
        };
        let (back, fed) = tokio::task::spawn_blocking(work).await.map_err(|_| lost("TLS broke off"))?;
        engine = back;
        if let Err(why) = fed {
            // It reads why.
            let _ = tcp.write_all(&engine.records()).await;
            return Err(why);
        }
    }
}

/// What a stream brought.
pub(crate) enum Came {
    /// What has been heard, which may be nothing.
    Octets,
    /// Its end.
    End,
    /// A word that breaks TLS. The other side is told by what is still to be sent.
    Broken(Failure),
}

/// A session of TLS, or what somebody else has taken out of one.
pub(crate) struct TlsStream {
    wire: Wire,
    /// `None`: somebody else ends TLS.
    engine: Option<Engine>,
    /// What is to be said, and not encrypted yet: many words share a record.
    words: Vec<u8>,
    /// Records that are to be sent.
    unsent: Vec<u8>,
    /// How many of them have been.
    sent: usize,
}

impl TlsStream {
    /// After the handshake.
    pub(crate) fn new(tcp: TcpStream, engine: Engine) -> Self {
        Self::of(Wire::Tcp(tcp), Some(engine))
    }

    /// Of whom somebody else ends TLS.
    pub(crate) fn ended_elsewhere(wire: Wire) -> Self {
        Self::of(wire, None)
    }

    fn of(wire: Wire, engine: Option<Engine>) -> Self {
        Self { wire, engine, words: Vec::new(), unsent: Vec::new(), sent: 0 }
    }

    /// What came with the handshake's last records.
    pub(crate) fn first(&mut self) -> Vec<u8> {
        self.engine.as_mut().map(|engine| engine.plaintext().expose().to_vec()).unwrap_or_default()
    }

    /// Says this with the next [`TlsStream::flush`].
    pub(crate) fn say(&mut self, octets: &[u8]) {
        self.words.extend_from_slice(octets);
    }

    /// Whether so much waits to be sent that what can wait should.
    pub(crate) const fn is_full(&self) -> bool {
        self.waiting() >= FULL
    }

    /// Octets that wait to be sent.
    pub(crate) const fn waiting(&self) -> usize {
        self.words.len() + self.unsent.len() - self.sent
    }

    /// Encrypts what is to be said, and sends as much as goes at once.
    ///
    /// # Errors
    /// The connection is broken.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match &mut self.engine {
            Some(engine) => {
                self.words.chunks(RECORD).for_each(|record| engine.write(record));
                self.words.clear();
                engine.records_into(&mut self.unsent);
            }
            None => self.unsent.append(&mut self.words),
        }
        while let Some(rest) = self.unsent.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match self.wire.try_write(rest) {
                Ok(n) => self.sent += n,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
        if self.sent == self.unsent.len() {
            self.unsent.clear();
            self.sent = 0;
        } else if self.sent >= FULL {
            self.unsent.drain(..self.sent);
            self.sent = 0;
        }
        Ok(())
    }

    /// Says that nothing more will be said, as far as it goes at once.
    pub(crate) fn close(&mut self) {
        if let Some(engine) = &mut self.engine {
            engine.close();
        }
        let _ = self.flush();
    }

    /// Sends what is to be sent, and waits for what comes, which `hear` gets in pieces of any size. Cancel-safe.
    ///
    /// # Errors
    /// The connection is broken.
    pub(crate) async fn exchange(&mut self, mut hear: impl FnMut(&[u8])) -> io::Result<Came> {
        loop {
            self.flush()?;
            let unsent = self.unsent.len() > self.sent;
            tokio::select! {
                ready = self.wire.writable(), if unsent => ready?,
                ready = self.wire.readable() => {
                    ready?;
                    match scratch::with(|buffer| self.take(buffer, &mut hear)) {
                        Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                        came => return came,
                    }
                }
            }
        }
    }

    fn take(&mut self, buffer: &mut [u8], hear: &mut impl FnMut(&[u8])) -> io::Result<Came> {
        let length = self.wire.try_read(buffer)?;
        let records = buffer.get(..length).filter(|records| !records.is_empty());
        let Some(records) = records else { return Ok(Came::End) };
        let Some(engine) = &mut self.engine else {
            hear(records);
            return Ok(Came::Octets);
        };
        match engine.listen(records, hear) {
            Ok(()) => Ok(Came::Octets),
            Err(why) => {
                let _ = self.flush();
                Ok(Came::Broken(why))
            }
        }
    }

    /// Nothing has come for long: what is empty keeps no room.
    pub(crate) fn rest(&mut self) {
        for buffer in [&mut self.words, &mut self.unsent] {
            buffer.shrink_to_fit();
        }
    }
}
