//! Peers that dial by IKEv2. They are the server's, but for those whose first CHILD_SA is to be in transport mode for traffic
//! that somebody else protects: L2TP's.

use std::net::IpAddr;
use std::sync::Arc;

use adit_core::TrafficSelector;
use adit_ikev2::api::{Ask, ResponderDefaults};

use super::driver::{Listen, SaContext};

/// Somebody beside the server.
pub struct Beside {
    /// What its peers meet, where there is no server, which otherwise says so for all.
    pub listen: Listen,
    /// Whether it protects what a peer asks for in transport mode: our side of that.
    pub takes: fn(&[TrafficSelector]) -> bool,
}

/// Who is there for peers.
#[derive(Default)]
pub(super) struct Responders {
    server: Option<(Listen, Arc<dyn SaContext>)>,
    beside: Option<(Beside, Arc<dyn SaContext>)>,
}

impl Responders {
    pub(super) fn set_server(&mut self, server: Option<(Listen, Arc<dyn SaContext>)>) {
        self.server = server;
    }

    pub(super) fn set_beside(&mut self, beside: Option<(Beside, Arc<dyn SaContext>)>) {
        self.beside = beside;
    }

    fn all(&self) -> impl Iterator<Item = &Listen> {
        let server = self.server.iter().map(|(listen, _)| listen);
        server.chain(self.beside.iter().map(|(beside, _)| &beside.listen))
    }

    /// What every peer meets before it has said what it wants.
    pub(super) fn defaults(&self) -> Option<ResponderDefaults> {
        self.all().next().map(|listen| listen.defaults.clone())
    }

    /// Who hears of peers that have not said yet what they want.
    pub(super) fn context(&self) -> Option<Arc<dyn SaContext>> {
        let server = self.server.as_ref().map(|(_, context)| context);
        server.or_else(|| self.beside.as_ref().map(|(_, context)| context)).cloned()
    }

    /// Addresses of this host on which somebody listens; empty: all.
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        match self.all().any(|listen| listen.addresses.is_empty()) {
            true => Vec::new(),
            false => self.all().flat_map(|listen| listen.addresses.iter().copied()).collect(),
        }
    }

    /// Whom a peer has come to that asks for its configuration, if that is not the server.
    pub(super) fn beside(&self, ask: &Ask) -> Option<Arc<dyn SaContext>> {
        let Ask::Connection { path, transport, .. } = ask else { return None };
        let (beside, context) = self.beside.as_ref()?;
        let hears =
            |listen: &Listen| listen.addresses.is_empty() || listen.addresses.contains(&path.local.ip());
        let wanted = hears(&beside.listen) && !transport.is_empty() && (beside.takes)(transport);
        // Where there is no server it says no itself.
        (wanted || !self.server.as_ref().is_some_and(|(listen, _)| hears(listen)))
            .then(|| Arc::clone(context))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use adit_core::{Identity, Path, Prefix};
    use adit_ikev2::api::{Event, SaId, Timing};

    use super::super::driver::Pending;
    use super::*;

    struct Nobody;

    impl SaContext for Nobody {
        fn ask(&self, _: SaId, _: Ask) -> Pending {
            Pending::Later(Box::pin(std::future::pending()))
        }

        fn event(&self, _: SaId, _: Event) {}
    }

    fn listen(addresses: &[&str], limit: usize) -> Listen {
        let defaults = ResponderDefaults {
            ike: Vec::new(),
            cookie_threshold: 1,
            half_open_limit: 1,
            half_open_per_address: 1,
            limit,
            ppk: false,
            fragment_size: 1280,
            authorities: Vec::new(),
            timing: Timing { half_open: Duration::from_secs(1), ..Timing::default() },
        };
        Listen { defaults, addresses: addresses.iter().map(|a| a.parse().unwrap()).collect() }
    }

    fn asks(transport: &[TrafficSelector], local: &str) -> Ask {
        let path = Path { local: local.parse().unwrap(), remote: "192.0.2.9:500".parse().unwrap() };
        let remote: Identity = "192.0.2.9".parse().unwrap();
        Ask::Connection { remote, asked: None, path, eap: false, transport: transport.to_vec() }
    }

    #[test]
    fn who_asks_for_what_the_other_protects_is_the_others() {
        let any: TrafficSelector = Prefix::ANY_V4.into();
        let wanted = TrafficSelector { protocol: 17, first_port: 1701, last_port: 1701, ..any };
        let takes: fn(&[TrafficSelector]) -> bool = |all| all.iter().all(|ts| ts.first_port == 1701);
        let beside = || Some((Beside { listen: listen(&["192.0.2.2"], 2), takes }, Arc::new(Nobody) as _));
        let server = |addresses: &[&str]| Some((listen(addresses, 1), Arc::new(Nobody) as _));
        let mut all = Responders::default();
        assert!(all.defaults().is_none() && all.beside(&asks(&[wanted], "192.0.2.2:500")).is_none());
        all.set_beside(beside());
        assert!(all.context().is_some());
        assert_eq!((all.defaults().unwrap().limit, all.addresses().len()), (2, 1));
        assert!(all.beside(&asks(&[any], "192.0.2.2:500")).is_some(), "there is nobody else to say no");
        all.set_server(server(&["192.0.2.1", "192.0.2.2"]));
        assert_eq!((all.defaults().unwrap().limit, all.addresses().len()), (1, 3));
        assert!(all.beside(&asks(&[wanted], "192.0.2.2:500")).is_some());
        for (transport, local) in
            [(&[any][..], "192.0.2.2:500"), (&[], "192.0.2.2:500"), (&[wanted], "192.0.2.1:500")]
        {
            assert!(all.beside(&asks(transport, local)).is_none(), "{transport:?} {local}");
        }
        all.set_server(server(&[]));
        assert!(all.addresses().is_empty());
    }
}
