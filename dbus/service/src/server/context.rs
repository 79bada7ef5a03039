//! Answers the core's questions for peers that dial us.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use adit_core::{Failure, FailureCode, Identity, Path, Prefix, Secret, Step, TrafficSelector};
use adit_ikev2::api::{
    Answer, Ask, Established, Event, Lease, LocalAuth, PpkUse, RemoteAuth, ResponderConfig, Restored, SaId,
    Uniqueness,
};
use adit_pki::TrustAnchors;
use adit_pool::Request;
use adit_profile::{AuthMethod, ConnectionRule, EapMethod, PskSource, Revocation};
use ring::rand::{SecureRandom, SystemRandom};

use super::Inner;
use super::resume::Proof;
use crate::blocking::blocking;
use crate::client::not_rekeyed;
use crate::clock;
use crate::credentials::{OwnCertificate, PeerIs, PeerSignature, verify};
use crate::ike::{Pending, SaContext};
use crate::registry::{ConnectionId, Facts, Role, State};

/// Bytes of the random key that stands in for the one of a peer nobody knows.
const STAND_IN: usize = 32;

impl SaContext for Arc<Inner> {
    fn ask(&self, sa: SaId, ask: Ask) -> Pending {
        if let Some(next) = self.successor_for(sa) {
            return next.ask(sa, ask);
        }
        match ask {
            Ask::Connection { remote, path, eap, .. } => {
                Pending::Now(Answer::Connection(self.connection(sa, &remote, path, eap).map(Box::new)))
            }
            Ask::Resume { session, remote, path } => {
                let inner = Arc::clone(self);
                Pending::Later(Box::pin(async move {
                    Answer::Connection(inner.resume(sa, session, remote, path).await)
                }))
            }
            Ask::Psk { .. } => self.ask_for_psk(sa),
            Ask::Ppk { id, .. } => self.ask_for_ppk(id),
            Ask::Verify { identity, certificates, scheme, encoding, message, signature } => {
                let claim = PeerSignature { identity, certificates, scheme, encoding, message, signature };
                let chain: Arc<[Vec<u8>]> = claim.certificates.as_slice().into();
                self.guest_facts(sa, |facts| facts.proof = Proof::Certificate(chain));
                match self.anchors_for(sa, &claim.identity) {
                    Ok(anchors) => verify(anchors, self.revocation_for(sa), PeerIs::Client, claim),
                    Err(failure) => Pending::Now(Answer::Verified(Err(failure))),
                }
            }
            Ask::Sign { certificate, schemes, encoding, message } => match &self.own {
                Some(own) => own.sign(certificate, schemes, encoding, message),
                None => Pending::Now(Answer::Signed(Err(unexpected("a signature")))),
            },
            Ask::Eap { packet } => {
                let inner = Arc::clone(self);
                Pending::Later(Box::pin(async move { Answer::Eap(inner.eap(sa, packet).await) }))
            }
            Ask::Lease { remote, v4, v6, resumes } => {
                Pending::Now(Answer::Leased(self.lease((sa, resumes), &remote, request(v4, v6))))
            }
            Ask::AllocateSpi { path } => {
                let allocated = self.guest(sa).allocate_spi(self, sa, path);
                Pending::Later(Box::pin(async { Answer::Spi(allocated.await) }))
            }
            Ask::Install(child) => {
                let installed = self.guest(sa).install(self, sa, *child);
                Pending::Later(Box::pin(async { Answer::Installed(installed.await) }))
            }
            Ask::InstallOutbound { child, keys } => {
                let installed = self.daemon.sad().install_outbound(sa, child, keys);
                Pending::Later(Box::pin(async { Answer::Installed(installed.await) }))
            }
            // The driver answers these itself.
            Ask::Generate(_) | Ask::Agree { .. } | Ask::Encapsulate { .. } => {
                Pending::Later(Box::pin(std::future::pending()))
            }
        }
    }

    fn event(&self, sa: SaId, event: Event) {
        if let Some(next) = self.successor_for(sa) {
            return next.event(sa, event);
        }
        match event {
            Event::Established(facts) => {
                self.established(sa, &facts);
                self.begin_session(sa, &facts);
                self.remember_session(sa, &facts);
            }
            Event::ChildClosed { child, replaced_by, .. } => {
                let Some(guest) = self.guests().get(&sa).cloned() else { return };
                guest.close_child(self, sa, child, replaced_by.is_some());
            }
            Event::PathChanged { path, encapsulated } => self.moved(sa, path, encapsulated),
            Event::RekeyRefused { child, why } => {
                let peer = why.peer.as_deref().unwrap_or("");
                let text = not_rekeyed(child, &why);
                // Windows refuses each rekey of a server behind NAT, and rekeys by itself.
                match why.code {
                    FailureCode::PeerMisbehaved => tracing::debug!(sa = sa.0, peer, "{text}"),
                    code => tracing::warn!(sa = sa.0, %code, peer, "{text}"),
                }
            }
            Event::Rekeyed { ike } => self.show(sa, |f| f.ike_rekeyed(ike)),
            Event::ChildUp(up) if up.replaces.is_some() => {
                self.show(sa, |f| f.child_rekeyed(up.esp, true));
            }
            Event::Released(_) => {
                // The lease goes with the guest.
            }
            Event::Closed(result) => {
                self.closed_because(sa, result.as_ref().err());
                self.forget_session(sa, result.as_ref().err());
                if let Err(failure) = result {
                    self.tell(sa, &self.reason(sa, failure));
                }
                let inner = Arc::clone(self);
                tokio::spawn(async move { inner.take_away(sa).await });
            }
            _ => {}
        }
    }

    fn hands_on(&self) -> bool {
        self.hands_on
    }

    fn hand_on(&self, sa: SaId, snapshot: Option<&[u8]>) {
        match self.successor_for(sa) {
            Some(next) => next.hand_on_client(sa, snapshot),
            None => self.hand_on_client(sa, snapshot),
        }
    }

    fn restored(&self, restored: &Restored) {
        self.returned(restored);
    }
}

impl Inner {
    fn ask_for_psk(self: &Arc<Self>, sa: SaId) -> Pending {
        let (inner, known) = (Arc::clone(self), self.rule(sa));
        if !matches!(self.psk_source(known), Some(PskSource::File(_))) {
            return Pending::Now(Answer::Psk(self.psk(known)));
        }
        Pending::Later(Box::pin(async move {
            let read = blocking(Step::Authenticate, "reading a key", move || inner.psk(known)).await;
            Answer::Psk(read.flatten())
        }))
    }

    fn ask_for_ppk(self: &Arc<Self>, id: Vec<u8>) -> Pending {
        let inner = Arc::clone(self);
        Pending::Later(Box::pin(async move {
            let read = blocking(Step::Authenticate, "reading a key", move || inner.ppk(&id)).await;
            Answer::Ppk(read.flatten())
        }))
    }

    /// The next configuration's server, for a peer that has not come to be this one's guest.
    fn successor_for(&self, sa: SaId) -> Option<&Arc<Self>> {
        self.successor.get().filter(|_| !self.guests().contains_key(&sa))
    }

    /// Why a peer is gone. One that never was a client may be anybody, as often as it likes: of those only so much is
    /// written.
    fn tell(&self, sa: SaId, failure: &Failure) {
        let client = self.guests().get(&sa).is_some_and(|g| g.connection().is_some());
        if !client && !self.may_tell_of_stranger() {
            return;
        }
        let peer = failure.peer.as_deref().unwrap_or("");
        tracing::info!(sa = sa.0, code = %failure.code, peer, "client: {failure}");
    }

    /// Who goes away, in whatever words, after EAP has refused it went because of that.
    pub(super) fn reason(&self, sa: SaId, told: Failure) -> Failure {
        let guest = self.guests().get(&sa).cloned();
        match guest.and_then(|g| g.facts().refused.take()) {
            Some(why) => {
                Failure { text: format!("a peer that left was not let in: {}", why.text), hint: None, ..told }
            }
            None => told,
        }
    }

    fn may_tell_of_stranger(&self) -> bool {
        let told = self.strangers.may_tell(clock::now());
        if let Some(kept_back @ 1..) = told {
            tracing::info!(kept_back, "lines about peers that were not let in");
        }
        told.is_some()
    }

    fn rule(&self, sa: SaId) -> Option<(usize, bool)> {
        let guest = self.guests().get(&sa).cloned();
        guest.and_then(|g| g.facts().rule)
    }

    /// Whom a certificate of this peer may come from. Belonging to one of them is not enough: a `match` has to name the
    /// peer, too.
    fn anchors_for(&self, sa: SaId, remote: &Identity) -> Result<Arc<TrustAnchors>, Failure> {
        match self.rule(sa) {
            Some((index, true)) => self.anchors.get(index).cloned().flatten(),
            Some((_, false)) | None => return Err(nobody(remote)),
        }
        .ok_or_else(|| unexpected("a certificate to verify"))
    }

    fn revocation_for(&self, sa: SaId) -> Revocation {
        let rule = self.rule(sa).and_then(|(index, _)| self.config.connections.get(index));
        rule.map_or(Revocation::Strict, |rule| rule.revocation)
    }

    fn connection(
        &self,
        sa: SaId,
        remote: &Identity,
        path: Path,
        eap: bool,
    ) -> Result<ResponderConfig, Failure> {
        if self.closing.load(Ordering::Acquire) {
            return Err(Failure::new(FailureCode::Cancelled, Step::Authenticate, "the server is going down"));
        }
        if eap {
            let index = self.eap_rule(remote, path).ok_or_else(|| nobody(remote))?;
            let rule = self.config.connections.get(index).ok_or_else(|| unexpected("a connection"))?;
            self.guest_facts(sa, |facts| (facts.rule, facts.path) = (Some((index, true)), Some(path)));
            return self.responder(sa, index, rule, path);
        }
        let found = self.config.connection_for(remote, path.remote.ip());
        // A name that nobody knows gets as far as one with a wrong key: the answer must not tell which it was.
        let rule = found.or(self.config.connections.first()).ok_or_else(|| unexpected("a connection"))?;
        let index = self.config.connections.iter().position(|c| std::ptr::eq(c, rule)).unwrap_or(0);
        self.guest_facts(sa, |facts| facts.rule = Some((index, found.is_some())));
        if found.is_none() && self.may_tell_of_stranger() {
            tracing::info!(identity = %remote, peer = %path.remote, "no [[connection]] is for this identity");
        }
        self.responder(sa, index, rule, path)
    }

    /// What holds for a peer of this `[[connection]]`.
    pub(super) fn responder(
        &self,
        sa: SaId,
        index: usize,
        rule: &ConnectionRule,
        path: Path,
    ) -> Result<ResponderConfig, Failure> {
        let local_auth = match (rule.server_auth, &self.own) {
            (AuthMethod::Certificate, Some(own)) => own.local_auth(),
            (AuthMethod::Certificate, None) => return Err(unexpected("the server's certificate")),
            (AuthMethod::Psk | AuthMethod::Eap, _) => LocalAuth::Psk,
        };
        Ok(ResponderConfig {
            name: rule.name.to_string(),
            local_id: self.identity(path)?,
            local_auth,
            remote_auth: self.remote_auth(index, rule),
            ppk: ppk_use(rule.ppk),
            esp: self.esp.clone(),
            local_ts: own_side(rule, path, self.dhcp_address()),
            remote_ts: peers_side(rule, path),
            addresses: rule.pool.is_some(),
            transport: rule.transport,
            uniqueness: uniqueness(rule.uniqueness),
            mobike: (!rule.transport).then(|| self.addresses()),
            ticket_lifetime: self.ticket_lifetime(sa),
            timing: self.timing(),
        })
    }

    fn remote_auth(&self, index: usize, rule: &ConnectionRule) -> RemoteAuth {
        match rule.auth {
            AuthMethod::Psk => RemoteAuth::Psk,
            AuthMethod::Eap => RemoteAuth::Eap { only: rule.eap_only && rule.eap == Some(EapMethod::Tls) },
            AuthMethod::Certificate => {
                let anchors = self.anchors.get(index).and_then(Option::as_ref);
                RemoteAuth::Certificate { authorities: anchors.map(|a| a.key_hashes()).unwrap_or_default() }
            }
        }
    }

    pub(super) fn identity(&self, path: Path) -> Result<Identity, Failure> {
        match (&self.config.ikev2.identity, &self.own) {
            (Some(identity), _) => Ok(identity.clone()),
            (None, Some(own)) => OwnCertificate::identity(own),
            (None, None) => Ok(Identity::Address(path.local.ip())),
        }
    }

    /// The key of a connection, read from its file. For a name that no connection is for the same file is read, and
    /// a random key given: neither the answer nor the time that it takes tells one from a wrong key.
    fn psk(&self, rule: Option<(usize, bool)>) -> Result<Secret, Failure> {
        let read = self.psk_source(rule).map(|source| self.daemon.files().psk(source));
        match (rule, read) {
            (Some((_, true)), Some(psk)) => psk,
            _ => {
                let mut bytes = vec![0; STAND_IN];
                SystemRandom::new().fill(&mut bytes).map_err(|_| unexpected("randomness"))?;
                Ok(Secret::new(bytes))
            }
        }
    }

    /// The postquantum preshared key of that name.
    fn ppk(&self, id: &[u8]) -> Result<Option<Secret>, Failure> {
        let known = self.config.ppks.iter().find(|ppk| ppk.id.as_bytes() == id);
        known.map(|ppk| self.daemon.files().key_of(&ppk.file)).transpose()
    }

    fn psk_source(&self, rule: Option<(usize, bool)>) -> Option<&PskSource> {
        let connection = rule.and_then(|(index, _)| self.config.connections.get(index));
        connection.and_then(|c| c.psk.as_ref().or(self.config.ikev2.psk.as_ref()))
    }

    fn lease(
        &self,
        (sa, resumes): (SaId, Option<SaId>),
        remote: &Identity,
        request: Request,
    ) -> Result<Lease, Failure> {
        let (index, _) = self.rule(sa).ok_or_else(|| unexpected("a lease"))?;
        let rule = self.config.connections.get(index).ok_or_else(|| unexpected("a lease"))?;
        let granted = self.granted(sa, rule);
        let name = granted.pool.as_deref().ok_or_else(|| unexpected("a pool"))?;
        let request = granted.request(request);
        let configured = self.config.pool(name).ok_or_else(|| unexpected("a pool"))?;
        let leased = {
            let mut pools = self.pools();
            let (_, pool) = pools.get_mut(name).ok_or_else(|| unexpected("a pool"))?;
            // The old IKE_SA of an identity that comes in again lives until the new one is up: both have the address.
            let leased = match (resumes, rule.uniqueness) {
                (Some(former), _) => pool.lease_of_former(sa.0, former.0, remote, request),
                (None, adit_profile::Uniqueness::Replace) => pool.lease_again(sa.0, remote, request),
                (None, _) => pool.lease(sa.0, remote, request),
            };
            leased.map_err(Failure::from)?
        };
        if let Err(failure) = granted.check(name, (leased.v4, leased.v6.map(|(a, _)| a))) {
            self.release_lease(name, sa);
            return Err(failure);
        }
        self.guest_facts(sa, |facts| facts.pool = Some((name.to_owned(), sa.0)));
        let dns = granted.dns.or_else(|| rule.dns.clone()).unwrap_or_else(|| configured.dns.clone());
        // What RADIUS says of servers, it does not say of domains.
        let domains = rule.domains.clone().unwrap_or_else(|| configured.domains.clone());
        Ok(Lease { v4: leased.v4, v6: leased.v6, dns, domains, subnets: Vec::new() })
    }

    /// It goes over this path now.
    fn moved(&self, sa: SaId, path: Path, encapsulated: bool) {
        tracing::info!(sa = sa.0, peer = %path.remote, encapsulated, "client moved");
        self.daemon.sad().follow(sa, path, encapsulated);
        self.show(sa, |f| {
            f.local = Some(path.local);
            f.remote = Some(path.remote);
            f.encapsulated = encapsulated;
        });
    }

    pub(super) fn guest_facts(&self, sa: SaId, change: impl FnOnce(&mut super::guest::GuestFacts)) {
        let guest = self.guest(sa);
        change(&mut guest.facts());
    }
}

impl Inner {
    fn established(&self, sa: SaId, facts: &Established) {
        let resumed = if facts.resumed { ", its session resumed" } else { "" };
        tracing::info!(sa = sa.0, identity = %facts.remote_id, peer = %facts.path.remote, "client connected{resumed}");
        self.show_client(sa, facts);
    }

    /// A client is up, as people see it.
    pub(super) fn show_client(&self, sa: SaId, facts: &Established) -> ConnectionId {
        let name = facts.connection.as_deref().unwrap_or("");
        let mut shown = Facts::new(Role::Server, name, "");
        shown.state = State::Connected;
        shown.step = Step::Established.as_str().to_owned();
        shown.local = Some(facts.path.local);
        shown.remote = Some(facts.path.remote);
        shown.encapsulated = facts.encapsulated;
        shown.interface.clone_from(&self.link);
        let v4 = facts.lease.v4.map(IpAddr::V4);
        let v6 = facts.lease.v6.map(|(a, _)| IpAddr::V6(a));
        shown.addresses = v4.into_iter().chain(v6).map(Prefix::host).collect();
        shown.dns.clone_from(&facts.lease.dns);
        shown.domains.clone_from(&facts.lease.domains);
        shown.local_id = facts.local_id.to_string();
        shown.remote_id = facts.remote_id.to_string();
        shown.ppk = facts.ppk;
        shown.resumed = facts.resumed;
        shown.set_ike(facts.ike);
        shown.esp_suite = facts.esp.to_string();
        shown.legacy = [facts.ike.legacy(), facts.esp.legacy()].concat();
        let connection = self.daemon.registry().add(shown);
        self.guest_facts(sa, |facts| facts.connection = Some(connection));
        connection
    }

    fn show(&self, sa: SaId, change: impl FnOnce(&mut Facts)) {
        let connection = self.guests().get(&sa).and_then(|g| g.connection());
        if let Some(connection) = connection {
            self.daemon.registry().update(connection, change);
        }
    }
}

/// Our side of the traffic selectors. In transport mode there is only this host.
fn own_side(rule: &ConnectionRule, path: Path, dhcp: Option<Ipv4Addr>) -> Vec<TrafficSelector> {
    let everything = [Prefix::ANY_V4, Prefix::ANY_V6].map(TrafficSelector::from);
    match rule.transport && rule.pool.is_none() && rule.subnets == everything {
        true => vec![Prefix::host(path.local.ip()).into()],
        false => {
            // Who asks for routes asks everybody on the link, and is answered by this host.
            let asked =
                dhcp.filter(|_| rule.routes_by_dhcp).into_iter().flat_map(|own| [Ipv4Addr::BROADCAST, own]);
            let asked =
                asked.map(IpAddr::V4).filter(|a| !rule.subnets.iter().any(|ts| ts.addresses.contains(*a)));
            rule.subnets.iter().cloned().chain(asked.map(|a| Prefix::host(a).into())).collect()
        }
    }
}

/// What the peer may have behind itself, where it gets no address from us.
fn peers_side(rule: &ConnectionRule, path: Path) -> Vec<TrafficSelector> {
    match rule.remote_subnets.is_empty() && rule.pool.is_none() {
        true => vec![Prefix::host(path.remote.ip()).into()],
        false => rule.remote_subnets.clone(),
    }
}

const fn ppk_use(written: adit_profile::PpkUse) -> PpkUse {
    match written {
        adit_profile::PpkUse::Off => PpkUse::Off,
        adit_profile::PpkUse::Optional => PpkUse::Optional,
        adit_profile::PpkUse::Required => PpkUse::Required,
    }
}

const fn uniqueness(written: adit_profile::Uniqueness) -> Uniqueness {
    match written {
        adit_profile::Uniqueness::Replace => Uniqueness::Replace,
        adit_profile::Uniqueness::Keep => Uniqueness::Keep,
        adit_profile::Uniqueness::Refuse => Uniqueness::Refuse,
    }
}

fn request(v4: Option<Ipv4Addr>, v6: Option<Ipv6Addr>) -> Request {
    Request {
        v4: v4.is_some(),
        v6: v6.is_some(),
        wanted_v4: v4.filter(|a| !a.is_unspecified()),
        wanted_v6: v6.filter(|a| !a.is_unspecified()),
    }
}

pub(super) fn nobody(remote: &Identity) -> Failure {
    let text = format!("no [[connection]] is for {remote}");
    Failure::new(FailureCode::AuthenticationFailed, Step::Authenticate, text)
        .hint("if it may come in, add it to a  match  in server.toml")
}

pub(super) fn unexpected(what: &str) -> Failure {
    Failure::new(FailureCode::Internal, Step::Authenticate, format!("the IKE core asked for {what}"))
}
