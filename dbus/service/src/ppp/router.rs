//! The router of one link: `adit-ppp`'s, with its sockets and a task.

use adit_core::Failure;
use adit_crypto::OsEntropy;
use adit_ppp::{Router, RouterConfig, RouterInput, RouterOutput};
use adit_ppp_kernel::{Heard, RouterSockets};
use tokio::task::JoinHandle;

use super::Unit;
use crate::clock;

/// Advertises until it is dropped.
pub(crate) struct Advertising(JoinHandle<()>);

impl Advertising {
    /// Begins, on a unit that is up.
    ///
    /// # Errors
    /// The kernel refuses the sockets.
    pub(crate) fn begin(unit: &Unit, config: RouterConfig) -> Result<Self, Failure> {
        let sockets = RouterSockets::open(unit.name(), unit.index())?;
        Ok(Self(tokio::spawn(run(sockets, config))))
    }
}

impl Drop for Advertising {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn run(sockets: RouterSockets, config: RouterConfig) {
    let mut entropy = OsEntropy::new();
    let mut router = Router::new(clock::now(), config);
    let mut client = None;
    loop {
        let input = tokio::select! {
            heard = sockets.receive() => match heard {
                Ok(Heard::Icmp(octets)) => RouterInput::Icmp(octets),
                Ok(Heard::Dhcp(octets, from)) => {
                    client = Some(from);
                    RouterInput::Dhcp(octets)
                }
                // The interface is gone.
                Err(_) => return,
            },
            () = clock::sleep_until(Some(router.deadline())) => RouterInput::Wake,
        };
        router.handle(clock::now(), &mut entropy, input);
        match router.poll() {
            Some(RouterOutput::Icmp(message)) => sockets.advertise(&message),
            Some(RouterOutput::Dhcp(datagram)) => client.iter().for_each(|to| sockets.answer(&datagram, *to)),
            None => {}
        }
    }
}
