//! The host at our end of a link: `adit-ppp`'s, with its socket and a task. The kernel itself is to believe no advertisement: it
//! would route whatever is called on-link.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use adit_core::{Failure, Prefix};
use adit_crypto::OsEntropy;
use adit_ppp::{Host as LinkHost, HostInput, HostOutput, Ipv6Network};
use adit_ppp_kernel::{HostHeard, HostSockets};
use tokio::task::JoinHandle;

use super::Unit;
use crate::clock;
use crate::host::{Change, Host, Undo};

/// Who is told of the addresses and DNS servers that come and go.
pub(crate) type Told = Box<dyn Fn(&HostOutput) + Send>;

/// Makes addresses of what is advertised, until it is ended.
pub(crate) struct Autoconfiguring {
    task: JoinHandle<()>,
    made: Arc<Made>,
}

struct Made {
    host: Arc<dyn Host>,
    link: String,
    addresses: Mutex<Vec<Ipv6Addr>>,
}

impl Autoconfiguring {
    /// Begins, on a unit that is up, with its interface identifier. The addresses go with the unit, or with this: no journal is
    /// needed.
    ///
    /// # Errors
    /// The kernel refuses the sockets.
    pub(crate) fn begin(
        unit: &Unit,
        identifier: [u8; 8],
        host: Arc<dyn Host>,
        told: Told,
    ) -> Result<Self, Failure> {
        let local = Ipv6Network::link_local(identifier);
        let sockets = HostSockets::open(unit.name(), unit.index(), local)?;
        let made = Arc::new(Made { host, link: unit.name().to_owned(), addresses: Mutex::default() });
        let task =
            tokio::spawn(run(sockets, LinkHost::new(clock::now(), identifier), Arc::clone(&made), told));
        Ok(Self { task, made })
    }

    /// Takes its addresses away.
    pub(crate) async fn end(self) {
        let Self { task, made } = self;
        task.abort();
        let _ = task.await;
        let addresses = std::mem::take(&mut *made.addresses());
        for address in addresses {
            made.remove(address).await;
        }
    }
}

impl Made {
    fn addresses(&self) -> MutexGuard<'_, Vec<Ipv6Addr>> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn add(&self, address: Ipv6Addr) {
        self.addresses().push(address);
        let change = Change::Address { link: self.link.clone(), address: Prefix::host(IpAddr::V6(address)) };
        if let Err(error) = self.host.apply(&change).await {
            tracing::warn!(%error, "a router's advertisement made no address");
        }
    }

    async fn remove(&self, address: Ipv6Addr) {
        self.addresses().retain(|known| *known != address);
        let undo = Undo::Address { link: self.link.clone(), address: Prefix::host(IpAddr::V6(address)) };
        if let Err(error) = self.host.undo(&undo).await {
            tracing::warn!(%error, "not undone");
        }
    }
}

async fn run(sockets: HostSockets, mut host: LinkHost, made: Arc<Made>, told: Told) {
    let mut entropy = OsEntropy::new();
    loop {
        let input = tokio::select! {
            heard = sockets.receive() => match heard {
                Ok(HostHeard::Icmp(octets)) => HostInput::Icmp(octets),
                Ok(HostHeard::Dhcp(octets)) => HostInput::Dhcp(octets),
                // The interface is gone.
                Err(_) => return,
            },
            () = clock::sleep_until(host.deadline()) => HostInput::Wake,
        };
        host.handle(clock::now(), &mut entropy, input);
        while let Some(output) = host.poll() {
            match &output {
                HostOutput::Icmp(message) => sockets.solicit(message),
                HostOutput::Dhcp(datagram) => sockets.inquire(datagram),
                HostOutput::Add(address) => made.add(*address).await,
                HostOutput::Remove(address) => made.remove(*address).await,
                HostOutput::Dns(_) => {}
            }
            told(&output);
        }
    }
}
