//! The proxies against a service of the same shape, over a socket without a bus; and that shape against the documents.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::HashMap;

use adit_core::{Failure, FailureCode, Step};
use adit_dbus_api::{
    ApiError, ChildParts, ConnectionProxy, ConnectionRow, ConnectionState, ConnectionStatus, DoctorCheck,
    LastErrorParts, LogEntry, ManagerProxy, ObjectManagerProxy, ProfileProxy, ProfileSummary, Traffic,
    connect_private, failure_of, failure_to_parts, introspection, names, signals,
};
use futures_util::StreamExt;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, Guid, OwnedObjectPath, OwnedVariant, connection, fdo, interface};

struct Manager;

#[interface(name = "org.adit1.Manager")]
impl Manager {
    async fn up(
        &self,
        profile: &str,
        options: HashMap<String, OwnedVariant>,
        #[zbus(object_server)] server: &zbus::ObjectServer,
    ) -> Result<OwnedObjectPath, ApiError> {
        if profile != "corp" {
            let failure =
                Failure::new(FailureCode::NotFound, Step::Profile, format!("there is no profile {profile}"));
            return Err(failure.hint("ctl list").said("nobody").into());
        }
        assert!(options.is_empty());
        let path = "/org/adit1/connection/7";
        server.at(path, Tunnel { state: "connecting".into() }).await.unwrap();
        let tunnel = server.interface::<_, Tunnel>(path).await.unwrap();
        // As early as can be: before the caller has the path.
        Tunnel::progress(tunnel.signal_emitter(), "resolve", "IKEv2: resolving vpn.example.com")
            .await
            .unwrap();
        tunnel.get_mut().await.state = "connected".into();
        tunnel.get().await.state_changed(tunnel.signal_emitter()).await.unwrap();
        Tunnel::transition(tunnel.signal_emitter(), "connecting", "connected", "").await.unwrap();
        Ok(OwnedObjectPath::try_from(path).unwrap())
    }

    fn up_content(
        &self,
        name: &str,
        toml: &str,
        options: HashMap<String, OwnedVariant>,
    ) -> Result<OwnedObjectPath, ApiError> {
        assert_eq!((name, toml, options.len()), ("x", "server = 1", 0));
        Err(Failure::new(FailureCode::ConfigurationInvalid, Step::Profile, "bad").into())
    }

    fn reload(&self) -> fdo::Result<()> {
        Err(fdo::Error::AccessDenied("group adit".into()))
    }

    fn list_connections(&self) -> Vec<ConnectionRow> {
        vec![ConnectionRow {
            number: 7,
            profile: "corp".into(),
            role: "server".into(),
            state: "connected".into(),
            since: 1_700_000_000,
            interface: "adits0".into(),
            addresses: vec!["10.9.0.10/32".into()],
            remote_endpoint: "192.0.2.7:4500".into(),
            remote_identity: "alice@example.com".into(),
        }]
    }

    fn get_connection(&self, number: u64) -> OwnedObjectPath {
        OwnedObjectPath::try_from(format!("/org/adit1/connection/{number}")).unwrap()
    }

    fn log(&self, name: &str, after: u64) -> Vec<LogEntry> {
        vec![LogEntry {
            sequence: after + 1,
            at: 1_700_000_000,
            connection: 7,
            event: "failed".into(),
            step: "authenticate".into(),
            reason: "authentication-failed".into(),
            text: format!("{name} was refused"),
            peer: "AUTHENTICATION_FAILED".into(),
            hint: "check user".into(),
        }]
    }

    fn doctor(&self) -> Vec<DoctorCheck> {
        vec![DoctorCheck {
            id: "module".into(),
            status: "ok".into(),
            text: "is there".into(),
            hint: String::new(),
        }]
    }

    fn diagnose(&self, _profile: &str) -> Vec<DoctorCheck> {
        vec![]
    }

    fn diagnose_content(&self, _name: &str, _toml: &str) -> Vec<DoctorCheck> {
        vec![]
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> String {
        "0.1.0".into()
    }

    #[zbus(property)]
    fn listening(&self) -> Vec<String> {
        vec!["192.0.2.1:500".into()]
    }

    #[zbus(property(emits_changed_signal = "false"))]
    fn stopping(&self) -> bool {
        false
    }
}

struct Entry;

#[interface(name = "org.adit1.Profile")]
impl Entry {
    #[zbus(property(emits_changed_signal = "const"))]
    fn name(&self) -> String {
        "corp".into()
    }
    #[zbus(property)]
    fn server(&self) -> String {
        "vpn.example.com".into()
    }
    #[zbus(property)]
    fn auth(&self) -> String {
        "psk".into()
    }
    #[zbus(property)]
    fn tunnel(&self) -> String {
        "full".into()
    }
    #[zbus(property)]
    fn problems(&self) -> Vec<(String, String, String, String)> {
        vec![("configuration-invalid".into(), "corp.toml:1:1".into(), "bad".into(), "good".into())]
    }
    #[zbus(property)]
    fn settings(&self) -> Vec<(String, String, bool)> {
        vec![("dpd".into(), "\"30s\"".into(), true)]
    }
    #[zbus(property)]
    fn connection(&self) -> OwnedObjectPath {
        OwnedObjectPath::try_from("/").unwrap()
    }
}

struct Tunnel {
    state: String,
}

#[interface(name = "org.adit1.Connection")]
impl Tunnel {
    fn down(&mut self) {
        self.state = "disconnected".into();
    }
    fn rekey(&self, which: &str) -> u32 {
        assert_eq!(which, "child");
        2
    }
    fn statistics(&self) -> HashMap<String, u64> {
        Traffic { bytes_in: 1, bytes_out: 2, packets_in: 3, packets_out: 4 }.to_map()
    }
    fn provide_secret(&self, field: &str, value: Vec<u8>) {
        assert_eq!((field, value.as_slice()), ("psk", &b"x"[..]));
    }
    #[zbus(signal)]
    async fn progress(emitter: &SignalEmitter<'_>, step: &str, text: &str) -> zbus::Result<()>;
    #[zbus(signal, name = "StateChanged")]
    async fn transition(emitter: &SignalEmitter<'_>, old: &str, new: &str, reason: &str) -> zbus::Result<()>;
    #[zbus(property(emits_changed_signal = "const"))]
    fn profile(&self) -> String {
        "corp".into()
    }
    #[zbus(property(emits_changed_signal = "const"))]
    fn role(&self) -> String {
        "client".into()
    }
    #[zbus(property)]
    fn state(&self) -> String {
        self.state.clone()
    }
    #[zbus(property)]
    fn step(&self) -> String {
        "established".into()
    }
    #[zbus(property)]
    fn since(&self) -> u64 {
        1_700_000_000
    }
    #[zbus(property)]
    fn server(&self) -> String {
        "vpn.example.com".into()
    }
    #[zbus(property)]
    fn local_endpoint(&self) -> String {
        "192.0.2.7:4500".into()
    }
    #[zbus(property)]
    fn remote_endpoint(&self) -> String {
        "192.0.2.1:4500".into()
    }
    #[zbus(property)]
    fn encapsulated(&self) -> bool {
        true
    }
    #[zbus(property)]
    fn interface(&self) -> String {
        "adit0".into()
    }
    #[zbus(property)]
    fn addresses(&self) -> Vec<String> {
        vec!["10.9.0.10/32".into()]
    }
    #[zbus(property)]
    fn dns_domains(&self) -> Vec<String> {
        vec!["corp.example.com".into()]
    }
    #[zbus(property)]
    fn dns_silent(&self) -> Vec<String> {
        vec!["10.0.0.53".into()]
    }
    #[zbus(property)]
    fn dns(&self) -> Vec<String> {
        vec!["10.0.0.53".into()]
    }
    #[zbus(property)]
    fn routes(&self) -> Vec<String> {
        vec!["0.0.0.0/0".into()]
    }
    #[zbus(property)]
    fn remote_identity(&self) -> String {
        "vpn.example.com".into()
    }
    #[zbus(property)]
    fn local_identity(&self) -> String {
        "alice@example.com".into()
    }
    #[zbus(property)]
    fn ike_suite(&self) -> String {
        "aes256gcm16-prfsha256-x25519".into()
    }
    #[zbus(property)]
    fn esp_suite(&self) -> String {
        "aes256gcm16".into()
    }
    #[zbus(property)]
    fn gateway(&self) -> String {
        "vpn.example.com".into()
    }
    #[zbus(property)]
    fn children(&self) -> Vec<ChildParts> {
        let everything = || vec!["0.0.0.0/0".into()];
        vec![(String::new(), "tunnel".into(), "aes256gcm16".into(), everything(), everything())]
    }
    #[zbus(property)]
    fn resumed(&self) -> bool {
        true
    }
    #[zbus(property)]
    fn legacy(&self) -> Vec<String> {
        vec!["3des".into()]
    }
    #[zbus(property)]
    fn rekeys(&self) -> u64 {
        3
    }
    #[zbus(property)]
    fn next_rekey(&self) -> u64 {
        1_700_003_600
    }
    #[zbus(property)]
    fn wanted_secret(&self) -> (String, String, String) {
        Default::default()
    }

    #[zbus(property)]
    fn last_error(&self) -> LastErrorParts {
        failure_to_parts(Some(&failure()))
    }
}

fn failure() -> Failure {
    Failure::new(FailureCode::PeerLost, Step::Established, "the server stopped answering")
        .said("nothing")
        .hint("wait")
}

/// A service that answers one client, and the client.
async fn pair() -> (Connection, Connection) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("aditd.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let serve = async {
        let (stream, _) = listener.accept().await.unwrap();
        connection::Builder::unix_stream(stream.into_std().unwrap())
            .server(Guid::generate())
            .p2p()
            .serve_at(names::ROOT, fdo::ObjectManager)
            .serve_at(names::MANAGER_PATH, Manager)
            .serve_at("/org/adit1/profile/1", Entry)
            .build()
            .await
            .unwrap()
    };
    let (service, client) = tokio::join!(serve, connect_private(path.to_str().unwrap()));
    (service, client.unwrap())
}

#[tokio::test]
async fn calls_and_properties_go_through_without_a_bus() {
    let (_service, client) = pair().await;
    let manager = ManagerProxy::new(&client).await.unwrap();
    assert_eq!(manager.version().await.unwrap(), "0.1.0");
    assert_eq!(manager.listening().await.unwrap(), ["192.0.2.1:500"]);
    assert_eq!(manager.doctor().await.unwrap()[0].text, "is there");
    let row = manager.list_connections().await.unwrap().remove(0);
    assert_eq!((row.path().as_str(), row.since), ("/org/adit1/connection/7", 1_700_000_000));
    assert_eq!(ConnectionRow::number_of(&row.path()), Some(7));
    assert_eq!(manager.get_connection(7).await.unwrap().as_str(), row.path());
    let path = manager.up("corp", HashMap::new()).await.unwrap();
    let tunnel = ConnectionProxy::new(&client, &path).await.unwrap();
    assert_eq!(tunnel.rekey("child").await.unwrap(), 2);
    tunnel.provide_secret("psk", b"x").await.unwrap();
    assert_eq!(Traffic::from_map(&tunnel.statistics().await.unwrap()).packets_out, 4);
    assert_eq!(tunnel.last_error().await.unwrap().0, "peer-lost");
    tunnel.down().await.unwrap();
    let profile = ProfileProxy::new(&client, "/org/adit1/profile/1").await.unwrap();
    assert_eq!(profile.problems().await.unwrap()[0].1, "corp.toml:1:1");
    assert_eq!(profile.connection().await.unwrap().as_str(), "/");
}

#[tokio::test]
async fn one_call_gives_everything_as_values() {
    let (_service, client) = pair().await;
    let manager = ManagerProxy::new(&client).await.unwrap();
    manager.up("corp", HashMap::new()).await.unwrap();
    let objects = ObjectManagerProxy::new(&client).await.unwrap().get_managed_objects().await.unwrap();
    let properties = |path: &str, interface: &str| {
        let (_, interfaces) = objects.iter().find(|(p, _)| p.as_str() == path).unwrap();
        interfaces.iter().find(|(i, _)| i.as_str() == interface).unwrap().1
    };
    let path = "/org/adit1/connection/7";
    let status = ConnectionStatus::from_properties(path, properties(path, names::CONNECTION));
    assert_eq!(status.state, ConnectionState::Connected);
    assert_eq!((status.since, status.encapsulated, status.resumed), (1_700_000_000, true, true));
    assert_eq!(
        (status.addresses.as_slice(), status.routes.as_slice()),
        (&["10.9.0.10/32".into()][..], &["0.0.0.0/0".into()][..])
    );
    assert_eq!(status.last_error, Some(failure()));
    assert_eq!(
        (status.rekeys, status.next_rekey, status.legacy.as_slice()),
        (3, 1_700_003_600, &["3des".into()][..])
    );
    assert_eq!(status.children[0].2, "aes256gcm16");
    let path = "/org/adit1/profile/1";
    let profile = ProfileSummary::from_properties(path, properties(path, names::PROFILE));
    assert_eq!((profile.name.as_str(), profile.problems.len(), profile.connection), ("corp", 1, None));
    assert!(profile.settings[0].default);
}

#[tokio::test]
async fn whoever_listens_before_up_misses_no_signal() {
    let (_service, client) = pair().await;
    let stream = signals(&client).await.unwrap();
    let manager = ManagerProxy::new(&client).await.unwrap();
    let path = manager.up("corp", HashMap::new()).await.unwrap();
    let mut members = Vec::new();
    let mut stream = stream.filter_map(|m| std::future::ready(m.ok()));
    while members.last().is_none_or(|m| m != "StateChanged") {
        let message = stream.next().await.unwrap();
        let header = message.header();
        if header.path().is_some_and(|p| p.as_str() == path.as_str()) {
            members.push(header.member().unwrap().as_str().to_owned());
        }
    }
    assert_eq!(members, ["Progress", "PropertiesChanged", "StateChanged"]);
}

#[tokio::test]
async fn errors_keep_their_name_text_hint_and_peer() {
    let (_service, client) = pair().await;
    let manager = ManagerProxy::new(&client).await.unwrap();
    let error = manager.up("home", HashMap::new()).await.unwrap_err();
    let failure = failure_of(&error);
    let expected = Failure::new(FailureCode::NotFound, Step::Profile, "there is no profile home")
        .hint("ctl list")
        .said("nobody");
    assert_eq!(failure, expected);
    let zbus::Error::MethodError(name, ..) = &error else { panic!("{error:?}") };
    assert_eq!(name.as_str(), "org.adit1.Error.NotFound");
    let failure = failure_of(&manager.up_content("x", "server = 1", HashMap::new()).await.unwrap_err());
    assert_eq!((failure.code, failure.hint), (FailureCode::ConfigurationInvalid, None));
    assert_eq!(failure_of(&manager.reload().await.unwrap_err()).code, FailureCode::NotAuthorized);
    let gone = ConnectionProxy::new(&client, "/org/adit1/connection/99").await.unwrap();
    assert_eq!(failure_of(&gone.down().await.unwrap_err()).code, FailureCode::NotFound);
}

#[test]
fn the_page_names_every_member() {
    let page = include_str!("../../../docs/dbus.md");
    let errors = include_str!("../../../docs/errors.md");
    for (interface, document) in [
        (names::MANAGER, introspection::MANAGER),
        (names::PROFILE, introspection::PROFILE),
        (names::CONNECTION, introspection::CONNECTION),
    ] {
        let section = page.split(&format!("## {interface}\n")).nth(1).unwrap().split("\n## ").next().unwrap();
        for member in introspection::members(document, interface) {
            let name = member.split(' ').nth(1).unwrap();
            let written = section.contains(&format!("`{name}`")) || section.contains(&format!("`{name}("));
            assert!(written, "docs/dbus.md, {interface}: {member}");
        }
    }
    for code in FailureCode::ALL {
        assert!(errors.contains(&format!("\n## {}\n", code.as_str())), "{code} is not in docs/errors.md");
    }
}
