use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::{read, write};
use tokio::io::unix::AsyncFd;

use crate::{PppError, ioctl};

/// The longest frame that is read: LCP and authentication, never packets of the network.
const LONGEST: usize = 8192;

const OF_CARRIER: &str = "the carrier's channel";
/// How often it is looked whether the kernel has said which channel it is.
const LOOK: Duration = Duration::from_millis(1);

/// How a channel writes what it sends.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ChannelFlags {
    /// The peer takes a protocol field of one octet (LCP's PFC).
    pub compress_protocol: bool,
    /// The peer takes frames without address and control (LCP's ACFC).
    pub compress_address: bool,
}

/// A channel of the kernel, attached: what a carrier's frames pass through. Its carrier must outlive it.
#[derive(Debug)]
pub struct Channel {
    fd: AsyncFd<OwnedFd>,
}

impl Channel {
    /// Attaches to the channel of a carrier: a connected PPPoX socket, or a terminal with PPP's line discipline. Needs a
    /// tokio runtime.
    ///
    /// # Errors
    /// The kernel has no PPP or refuses.
    pub fn attach(carrier: BorrowedFd<'_>) -> Result<Self, PppError> {
        let to_be = ioctl::ToBe::new();
        to_be.ask(carrier).map_err(PppError::refused(OF_CARRIER))?;
        Self::with(&to_be)
    }

    /// The same as soon as the kernel has said which channel it is. The ioctl may return later: newer kernels (Debian 13's 6.12.117
    /// among them) wait until nobody receives any more without knowing of the channel (`synchronize_net`, some 15 ms). What has come
    /// by then they give to the channel, as they do from the beginning what comes after the word. The carrier is held until then.
    ///
    /// # Errors
    /// As [`Channel::attach`].
    pub fn attach_early<C: AsFd + Send + Sync + 'static>(
        carrier: Arc<C>,
    ) -> impl Future<Output = Result<Self, PppError>> + Send {
        let to_be = Arc::new(ioctl::ToBe::new());
        let said = Arc::clone(&to_be);
        // It is asked for before anybody waits: who has other things to do meanwhile often finds it said.
        let mut asked = tokio::task::spawn_blocking(move || said.ask(carrier.as_fd()));
        async move {
            // Nothing tells that a word of memory has been written.
            while to_be.get().is_none() {
                if let Ok(done) = tokio::time::timeout(LOOK, &mut asked).await {
                    let done = done.unwrap_or(Err(Errno::EINTR));
                    done.map_err(PppError::refused(OF_CARRIER))?;
                    break;
                }
            }
            Self::with(&to_be)
        }
    }

    fn with(said: &ioctl::ToBe) -> Result<Self, PppError> {
        let index = said.get().ok_or(PppError::Dialogue(OF_CARRIER))?;
        let fd = ioctl::open(Path::new(ioctl::DEVICE))?;
        ioctl::attach_channel(fd.as_fd(), index).map_err(PppError::refused("attaching the channel"))?;
        let fd = ioctl::register(fd)?;
        Ok(Self { fd })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.get_ref().as_fd()
    }

    /// Says how frames are to be written.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn set_flags(&self, flags: ChannelFlags) -> Result<(), PppError> {
        let bit = |on: bool, bit| if on { bit } else { 0 };
        let value = bit(flags.compress_protocol, ioctl::SC_COMP_PROT)
            | bit(flags.compress_address, ioctl::SC_COMP_AC);
        ioctl::set_flags(self.fd(), value).map_err(PppError::refused("the channel's flags"))
    }

    /// The next frame: its protocol in two octets, then the packet. Cancel-safe.
    ///
    /// # Errors
    /// The carrier is gone.
    pub async fn receive(&self) -> io::Result<Vec<u8>> {
        receive(&self.fd).await
    }

    /// Sends a frame. One that finds no room is lost, as on any line: PPP sends again.
    ///
    /// # Errors
    /// The carrier is gone.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        send(self.fd(), frame)
    }
}

pub(crate) async fn receive(fd: &AsyncFd<OwnedFd>) -> io::Result<Vec<u8>> {
    loop {
        let mut guard = fd.readable().await?;
        match guard.try_io(|fd| Ok(frame(fd.get_ref().as_fd())?)) {
            Ok(Ok(frame)) if frame.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(Err(e)) if e.kind() == io::ErrorKind::Interrupted => {}
            Ok(done) => return done,
            Err(_would_block) => {}
        }
    }
}

/// What has come already; `None`: nothing more.
pub(crate) fn receive_now(fd: BorrowedFd<'_>) -> Option<Vec<u8>> {
    frame(fd).ok().filter(|frame| !frame.is_empty())
}

/// No more room than it takes: who waits for a frame, as a thousand links do, has none at all.
fn frame(fd: BorrowedFd<'_>) -> nix::Result<Vec<u8>> {
    let mut buffer = [0; LONGEST];
    let length = read(fd, &mut buffer)?;
    Ok(buffer.get(..length).unwrap_or_default().to_vec())
}

pub(crate) fn send(fd: BorrowedFd<'_>, frame: &[u8]) -> io::Result<()> {
    match write(fd, frame) {
        Ok(_) | Err(Errno::EAGAIN | Errno::ENOBUFS) => Ok(()),
        Err(e) => Err(e.into()),
    }
}
