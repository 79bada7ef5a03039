//! `org.adit1.Connection`.

use std::collections::HashMap;
use std::sync::Arc;

use adit_core::Secret;
use adit_dbus_api::{
    ApiError, ChildParts, LastErrorParts, MoveParts, TriedParts, WantedParts, failure_to_parts,
};
use adit_ikev2::api::ChildMode;
use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, interface};

use super::gate::{Admitted, Gate};
use crate::daemon::Daemon;
use crate::registry::{ChildFacts, ConnectionId, Facts, Moved, Role, Tried, Wanted};

pub(crate) struct ConnectionObject {
    pub(super) daemon: Arc<Daemon>,
    pub(super) gate: Gate,
    pub(super) id: ConnectionId,
}

impl ConnectionObject {
    fn read<T: Default>(&self, read: impl FnOnce(Facts) -> T) -> T {
        self.daemon.registry().get(self.id).map(read).unwrap_or_default()
    }

    async fn admit(&self, bus: &Connection, header: &Header<'_>) -> Result<Admitted, ApiError> {
        self.gate.admit_to(bus, header, self.daemon.registry().get(self.id)).await
    }
}

pub(super) fn role_word(role: Role) -> String {
    match role {
        Role::Client => "client".to_owned(),
        Role::Server => "server".to_owned(),
    }
}

pub(super) fn children(facts: &Facts) -> Vec<ChildParts> {
    let mode = |mode| match mode {
        ChildMode::Tunnel => "tunnel".to_owned(),
        ChildMode::Transport => "transport".to_owned(),
    };
    let child = |c: &ChildFacts| {
        (c.name.clone(), mode(c.mode), c.esp_suite.clone(), texts(&c.local), texts(&c.remote))
    };
    facts.children.iter().map(child).collect()
}

pub(super) fn moves(facts: &Facts) -> Vec<MoveParts> {
    let one = |m: &Moved| (m.at, m.link.clone(), m.local.to_string(), m.remote.to_string());
    facts.moves.iter().map(one).collect()
}

pub(super) fn tried(facts: &Facts) -> Vec<TriedParts> {
    let one = |t: &Tried| {
        (t.tunnel.as_str().to_owned(), t.to.to_string(), t.code.as_str().to_owned(), t.text.clone())
    };
    facts.tried.iter().map(one).collect()
}

pub(super) fn wanted(wanted: Option<&Wanted>) -> WantedParts {
    wanted.map(|w| (w.field.clone(), w.prompt.clone(), w.reason.clone())).unwrap_or_default()
}

pub(super) fn texts<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(T::to_string).collect()
}

pub(super) fn text<T: ToString>(item: Option<T>) -> String {
    item.map(|i| i.to_string()).unwrap_or_default()
}

#[interface(name = "org.adit1.Connection")]
impl ConnectionObject {
    async fn down(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] bus: &Connection,
    ) -> Result<(), ApiError> {
        let _caller = self.admit(bus, &header).await?;
        let id = self.id;
        Ok(self.daemon.at_home(move |daemon| async move { daemon.down(id).await }).await?)
    }

    async fn rekey(
        &self,
        which: &str,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] bus: &Connection,
    ) -> Result<u32, ApiError> {
        let _caller = self.admit(bus, &header).await?;
        let (id, which) = (self.id, which.parse()?);
        Ok(self.daemon.at_home(move |daemon| async move { daemon.rekey(id, which).await }).await?)
    }

    async fn statistics(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] bus: &Connection,
    ) -> Result<HashMap<String, u64>, ApiError> {
        let _caller = self.admit(bus, &header).await?;
        let id = self.id;
        let counted = self.daemon.at_home(move |daemon| async move { daemon.statistics(id).await });
        Ok(counted.await?.to_map())
    }

    async fn provide_secret(
        &self,
        field: &str,
        value: Vec<u8>,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] bus: &Connection,
    ) -> Result<(), ApiError> {
        // Zeroized however this ends.
        let secret = Secret::new(value);
        let _caller = self.admit(bus, &header).await?;
        Ok(self.daemon.provide_secret(self.id, field, secret)?)
    }

    #[zbus(signal)]
    pub(super) async fn progress(emitter: &SignalEmitter<'_>, step: &str, text: &str) -> zbus::Result<()>;

    #[zbus(signal)]
    pub(super) async fn rekey_refused(emitter: &SignalEmitter<'_>, why: LastErrorParts) -> zbus::Result<()>;

    #[zbus(signal, name = "StateChanged")]
    pub(super) async fn transition(
        emitter: &SignalEmitter<'_>,
        old: &str,
        new: &str,
        reason: &str,
    ) -> zbus::Result<()>;

    #[zbus(property(emits_changed_signal = "const"))]
    fn profile(&self) -> String {
        self.read(|f| f.profile)
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn role(&self) -> String {
        self.read(|f| role_word(f.role))
    }

    #[zbus(property)]
    fn state(&self) -> String {
        self.read(|f| f.state.as_str().to_owned())
    }

    #[zbus(property)]
    fn step(&self) -> String {
        self.read(|f| f.step)
    }

    #[zbus(property)]
    fn since(&self) -> u64 {
        self.read(|f| f.since)
    }

    #[zbus(property)]
    fn server(&self) -> String {
        self.read(|f| f.server)
    }

    #[zbus(property)]
    fn local_endpoint(&self) -> String {
        self.read(|f| text(f.local))
    }

    #[zbus(property)]
    fn remote_endpoint(&self) -> String {
        self.read(|f| text(f.remote))
    }

    #[zbus(property)]
    fn encapsulated(&self) -> bool {
        self.read(|f| f.encapsulated)
    }

    #[zbus(property)]
    fn interface(&self) -> String {
        self.read(|f| f.interface)
    }

    #[zbus(property)]
    fn addresses(&self) -> Vec<String> {
        self.read(|f| texts(&f.addresses))
    }

    #[zbus(property)]
    fn dns(&self) -> Vec<String> {
        self.read(|f| texts(&f.dns))
    }

    #[zbus(property)]
    fn dns_domains(&self) -> Vec<String> {
        self.read(|f| f.domains)
    }

    #[zbus(property)]
    fn dns_silent(&self) -> Vec<String> {
        self.read(|f| texts(&f.dns_silent))
    }

    #[zbus(property)]
    fn routes(&self) -> Vec<String> {
        self.read(|f| texts(&f.routes))
    }

    #[zbus(property)]
    fn remote_identity(&self) -> String {
        self.read(|f| f.remote_id)
    }

    #[zbus(property)]
    fn local_identity(&self) -> String {
        self.read(|f| f.local_id)
    }

    #[zbus(property)]
    fn tunnel(&self) -> String {
        self.read(|f| f.tunnel.as_str().to_owned())
    }

    #[zbus(property)]
    fn tried(&self) -> Vec<TriedParts> {
        self.read(|f| tried(&f))
    }

    #[zbus(property)]
    fn ike_suite(&self) -> String {
        self.read(|f| f.ike_suite)
    }

    #[zbus(property)]
    fn esp_suite(&self) -> String {
        self.read(|f| f.esp_suite)
    }

    #[zbus(property)]
    fn resumed(&self) -> bool {
        self.read(|f| f.resumed)
    }

    #[zbus(property)]
    fn gateway(&self) -> String {
        self.read(|f| f.gateway)
    }

    #[zbus(property)]
    fn children(&self) -> Vec<ChildParts> {
        self.read(|f| children(&f))
    }

    #[zbus(property)]
    fn legacy(&self) -> Vec<String> {
        self.read(|f| f.legacy)
    }

    #[zbus(property)]
    fn rekeys(&self) -> u64 {
        self.read(|f| f.rekeys)
    }

    #[zbus(property)]
    fn next_rekey(&self) -> u64 {
        self.read(|f| f.next_rekey)
    }

    #[zbus(property)]
    fn uplink(&self) -> String {
        self.read(|f| f.uplink)
    }

    #[zbus(property)]
    fn moves(&self) -> Vec<MoveParts> {
        self.read(|f| moves(&f))
    }

    #[zbus(property)]
    fn wanted_secret(&self) -> WantedParts {
        self.read(|f| wanted(f.wanted.as_deref()))
    }

    #[zbus(property)]
    fn last_error(&self) -> LastErrorParts {
        failure_to_parts(self.daemon.registry().get(self.id).and_then(|f| f.last_error).as_deref())
    }
}
