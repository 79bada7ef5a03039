//! What a client's octets come by: TCP, or a socket of this host on which somebody passes them on.

use std::io;

use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpStream, UnixStream};

/// A connection.
pub(crate) enum Wire {
    /// TCP.
    Tcp(TcpStream),
    /// AF_UNIX.
    Unix(UnixStream),
}

impl Wire {
    /// The same connection, of the thread that calls.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(crate) fn here(self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(tcp) => Self::Tcp(TcpStream::from_std(tcp.into_std()?)?),
            Self::Unix(unix) => Self::Unix(UnixStream::from_std(unix.into_std()?)?),
        })
    }

    /// Fills `buffer`.
    ///
    /// # Errors
    /// The connection is broken, or ends before.
    pub(crate) async fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        match self {
            Self::Tcp(tcp) => tcp.read_exact(buffer).await.map(drop),
            Self::Unix(unix) => unix.read_exact(buffer).await.map(drop),
        }
    }

    /// Waits until something has come. Cancel-safe.
    ///
    /// # Errors
    /// The connection is broken.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(tcp) => tcp.readable().await,
            Self::Unix(unix) => unix.readable().await,
        }
    }

    /// Waits until something can be sent. Cancel-safe.
    ///
    /// # Errors
    /// The connection is broken.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(tcp) => tcp.writable().await,
            Self::Unix(unix) => unix.writable().await,
        }
    }

    /// Reads what has come. 0: its end.
    ///
    /// # Errors
    /// Nothing has (`WouldBlock`), or it is broken.
    pub(crate) fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.try_read(buffer),
            Self::Unix(unix) => unix.try_read(buffer),
        }
    }

    /// Sends as much as goes at once.
    ///
    /// # Errors
    /// Nothing goes (`WouldBlock`), or it is broken.
    pub(crate) fn try_write(&self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.try_write(octets),
            Self::Unix(unix) => unix.try_write(octets),
        }
    }
}
