//! Whether a tunnel's name servers answer: a host whose names do not resolve looks like one without a network.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use adit_core::Step;
use tokio::task::AbortHandle;

use crate::client::answers;
use crate::registry::{ConnectionId, Registry};

/// Between two questions to each of them.
const EVERY: Duration = Duration::from_mins(5);

/// What is asked, and whom.
pub(super) struct Questions {
    /// The link that they go by, as systemd-resolved's own do.
    pub(super) link: String,
    pub(super) servers: Vec<IpAddr>,
    /// Whatever they say of it is an answer.
    pub(super) name: String,
    /// Not only once. Questions are packets: a connection that is to go down without any is not asked again.
    pub(super) again: bool,
}

/// Asks for as long as it is there.
pub(super) struct Asking(AbortHandle);

impl Asking {
    pub(super) fn begin(registry: &Arc<Registry>, id: ConnectionId, questions: Questions) -> Self {
        Self(tokio::spawn(ask(Arc::clone(registry), id, questions)).abort_handle())
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn ask(registry: Arc<Registry>, id: ConnectionId, of: Questions) {
    let mut known = Vec::new();
    loop {
        let asked = of.servers.iter().map(|server| answers(*server, &of.name, Some(&of.link)));
        let answers = futures_util::future::join_all(asked).await;
        let silent: Vec<IpAddr> = of
            .servers
            .iter()
            .zip(answers)
            .filter(|(_, answer)| answer.is_err())
            .map(|(server, _)| *server)
            .collect();
        if silent != known {
            registry.update(id, |f| f.dns_silent.clone_from(&silent));
            registry.progress(id, Step::Network.as_str(), &said(&silent, of.servers.len()));
            known = silent;
        }
        if !of.again {
            return;
        }
        tokio::time::sleep(EVERY).await;
    }
}

fn said(silent: &[IpAddr], all: usize) -> String {
    let names: Vec<String> = silent.iter().map(IpAddr::to_string).collect();
    let (names, verb) = (names.join(", "), if silent.len() == 1 { "does" } else { "do" });
    match silent.len() {
        0 => "DNS: all its servers answer again".to_owned(),
        count if count == all => format!("DNS: {names} {verb} not answer: its names do not resolve"),
        _ => format!("DNS: {names} {verb} not answer: its names resolve late"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_answer_is_named_with_what_it_means() {
        let [one, other]: [IpAddr; 2] = ["10.1.0.53".parse().unwrap(), "fd00::53".parse().unwrap()];
        assert_eq!(said(&[one], 1), "DNS: 10.1.0.53 does not answer: its names do not resolve");
        assert_eq!(
            said(&[one, other], 2),
            "DNS: 10.1.0.53, fd00::53 do not answer: its names do not resolve"
        );
        assert_eq!(said(&[other], 2), "DNS: fd00::53 does not answer: its names resolve late");
    }
}
