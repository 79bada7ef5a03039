//! The socket of a peer-to-peer connection, from which nothing is read while its peer leaves what it was told unread.
//!
//! zbus starts a task for each call, and a task waits until its answer is written. Who calls on and on and reads nothing
//! would have the daemon keep a task and an answer for each: so the next call stays in the peer's own queue.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use async_trait::async_trait;
use tokio::io::AsyncReadExt;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf, UCred};
use tokio::sync::watch;
use zbus::connection::socket::{ReadHalf, Socket, Split, WriteHalf};
use zbus::fdo::ConnectionCredentials;

/// A unix stream; no file descriptors pass.
#[derive(Debug)]
pub(super) struct Paced(tokio::net::UnixStream);

impl Paced {
    /// Over `stream`.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self(tokio::net::UnixStream::from_std(stream)?))
    }
}

impl Socket for Paced {
    type ReadHalf = Reader;
    type WriteHalf = Writer;

    fn split(self) -> Split<Reader, Writer> {
        let peer = self.0.peer_cred().ok();
        let (from, to) = self.0.into_split();
        let (stalls, stalled) = watch::channel(false);
        Split::new(Reader { from, stalled, peer }, Writer { to, stalls })
    }
}

/// What the peer says.
#[derive(Debug)]
pub(super) struct Reader {
    from: OwnedReadHalf,
    stalled: watch::Receiver<bool>,
    peer: Option<UCred>,
}

#[async_trait]
impl ReadHalf for Reader {
    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        // The writer gone means that the connection is over, which reading tells.
        let _ = self.stalled.wait_for(|stalled| !stalled).await;
        Ok((self.from.read(buffer).await?, Vec::new()))
    }

    async fn peer_credentials(&mut self) -> io::Result<ConnectionCredentials> {
        let unknown = ConnectionCredentials::default();
        Ok(match self.peer {
            Some(peer) => unknown.set_unix_user_id(peer.uid()),
            None => unknown,
        })
    }
}

/// What the peer is told.
#[derive(Debug)]
pub(super) struct Writer {
    to: OwnedWriteHalf,
    stalls: watch::Sender<bool>,
}

#[async_trait]
impl WriteHalf for Writer {
    async fn sendmsg(&mut self, buffer: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
        if !fds.is_empty() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        loop {
            match self.to.try_write(buffer) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.stalls.send_replace(true);
                    self.to.writable().await?;
                }
                written => {
                    self.stalls.send_if_modified(|stalled| std::mem::replace(stalled, false));
                    return written;
                }
            }
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        // The reader is to see the end of it, whatever it waits for.
        self.stalls.send_replace(false);
        let stream: &tokio::net::UnixStream = self.to.as_ref();
        Ok(rustix::net::shutdown(stream, rustix::net::Shutdown::Both)?)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use zbus::connection::{AuthMechanism, Builder};
    use zbus::{Guid, Message};

    use super::*;

    /// How many calls a peer gets rid of that reads no answer.
    const MOST: usize = 20_000;

    fn says(peer: &mut UnixStream, line: &str, answer: &str) {
        peer.write_all(line.as_bytes()).unwrap();
        let mut said = Vec::new();
        while !said.ends_with(b"\r\n") {
            let mut octet = [0];
            peer.read_exact(&mut octet).unwrap();
            said.extend(octet);
        }
        assert!(said.starts_with(answer.as_bytes()), "{}", String::from_utf8_lossy(&said));
    }

    #[tokio::test]
    async fn who_reads_no_answer_has_its_calls_kept_by_itself() {
        let (ours, mut peer) = UnixStream::pair().unwrap();
        let peer = tokio::task::spawn_blocking(move || {
            says(&mut peer, "\0AUTH ANONYMOUS 6c6162\r\n", "OK");
            peer.write_all(b"BEGIN\r\n").unwrap();
            peer
        });
        let builder = Builder::socket(Paced::new(ours).unwrap()).auth_mechanism(AuthMechanism::Anonymous);
        let connection = builder.server(Guid::generate()).p2p().build().await.unwrap();
        connection.object_server().at("/", zbus::fdo::ObjectManager).await.unwrap();

        let peer = peer.await.unwrap();
        peer.set_nonblocking(true).unwrap();
        let peer = tokio::net::UnixStream::from_std(peer).unwrap();
        let call = Message::method_call("/", "Introspect")
            .interface("org.freedesktop.DBus.Introspectable")
            .build(&())
            .unwrap();
        let mut sent = 0;
        let mut idle = 0;
        while sent < MOST && idle < 1000 {
            match peer.try_write(call.data()) {
                Ok(all) if all == call.data().len() => (sent, idle) = (sent + 1, 0),
                Ok(part) => panic!("{part} octets of a call were written"),
                Err(_) => idle += 1,
            }
            tokio::task::yield_now().await;
        }
        assert!(sent < MOST, "{sent} calls were taken, and no answer was read");

        // It goes on where it is read again.
        let mut answers = vec![0; 1 << 16];
        while peer.try_write(call.data()).is_err() {
            let _ = peer.try_read(&mut answers);
            tokio::task::yield_now().await;
        }
        connection.close().await.unwrap();
    }
}
