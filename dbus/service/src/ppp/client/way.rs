//! The TCP connection that carries a link, where one does: to the server, or by way of a proxy.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use adit_core::{Failure, FailureCode, Secret, Step};
use adit_pki::TrustAnchors;
use adit_profile::{Profile, ProxyRule, ServerName, system_proxy};
use adit_sstp::proxy::Login;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpSocket, TcpStream};

use super::Attempt;
use crate::client::LogIn;
use crate::files::Files;
use crate::host::{MARK, PathInfo};
use crate::registry::Wanted;
use crate::sstp::{self, Asked};
use crate::start::environment;
use crate::uplinks::UPLINKS;

/// How long TCP may take.
const CONNECT: Duration = Duration::from_secs(10);

/// How often a person may mistype what the proxy wants to hear.
const TRIES: u8 = 3;

/// A proxy, and what it is told if it asks who that is.
pub(super) struct Way {
    pub(super) server: ServerName,
    user: Option<String>,
    /// Without it a person is asked.
    password: Option<Secret>,
}

impl Way {
    fn login(&self) -> Option<Login> {
        let (user, password) = (self.user.clone()?, self.password.as_ref()?.duplicate());
        Some(Login { user, password })
    }
}

impl Attempt {
    /// The tunnel's own packets stay on the link that they leave by, also where somebody else (NetworkManager) leads everything
    /// into the tunnel. Before there is one it makes no difference: it may be had while the peer is being asked.
    pub(super) fn keep_to_link(&self) -> impl Future<Output = Result<(), Failure>> + use<> {
        let (daemon, kept) = (Arc::clone(&self.daemon), Arc::clone(&self.keeps_to_link));
        async move {
            if !kept.load(Ordering::Relaxed) {
                daemon.uplinks().follow(|| daemon.changes(UPLINKS)).await?;
                kept.store(true, Ordering::Relaxed);
            }
            Ok(())
        }
    }

    /// A connection to the server, and its own end.
    pub(super) async fn way(
        &mut self,
        proxy: Option<Way>,
        gateway: &ServerName,
        remote: SocketAddr,
        uplink: &PathInfo,
    ) -> Result<(TcpStream, SocketAddr), Failure> {
        self.keep_to_link().await?;
        match proxy {
            Some(proxy) => self.by_proxy(&proxy, gateway, remote, uplink).await,
            None => self.tcp(remote, uplink).await,
        }
    }

    async fn tcp(&self, remote: SocketAddr, uplink: &PathInfo) -> Result<(TcpStream, SocketAddr), Failure> {
        let (port, name) = (remote.port(), self.carriage().name());
        let unreachable = |why: String| {
            let text = format!("TCP port {port} of {}: {why}", remote.ip());
            Failure::new(FailureCode::ServerUnreachable, Step::Call, text)
                .hint(format!("is it {name}'s server, and does a firewall let TCP port {port} pass?"))
        };
        let opened = || -> std::io::Result<TcpSocket> {
            let socket = if remote.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            setsockopt(&socket, sockopt::Mark, &MARK)?;
            let source = self.profile.local_address.unwrap_or(uplink.source);
            socket.bind(SocketAddr::new(source, 0))?;
            Ok(socket)
        };
        let socket = opened().map_err(|e| unreachable(e.to_string()))?;
        let tcp = match tokio::time::timeout(CONNECT, socket.connect(remote)).await {
            Ok(Ok(tcp)) => tcp,
            Ok(Err(e)) => return Err(unreachable(e.to_string())),
            Err(_) => return Err(unreachable(format!("no answer in {} s", CONNECT.as_secs()))),
        };
        let _ = tcp.set_nodelay(true);
        let local = tcp.local_addr().map_err(|e| unreachable(e.to_string()))?;
        Ok((tcp, local))
    }

    /// TLS with SSTP's server, which has shown who it is.
    pub(super) async fn meet(
        &mut self,
        tcp: TcpStream,
        gateway: &ServerName,
        anchors: &Arc<TrustAnchors>,
        behind_proxy: bool,
    ) -> Result<sstp::Outside, Failure> {
        let server = self.met.server(&self.profile, gateway, anchors)?;
        let answered = |certificate: Option<&Vec<u8>>| {
            self.login.iter().for_each(LogIn::answered);
            self.login.iter().zip(certificate).for_each(|(login, shown)| login.shown(shown));
        };
        let revocation = self.profile.revocation;
        let outside = sstp::meet(tcp, server, gateway, behind_proxy, revocation, answered).await?;
        self.login.iter().for_each(|login| login.agreed(&outside.cipher));
        let met = format!("SSTP: {}, the server is who it is to be", outside.cipher);
        self.progress(Step::Call, &met);
        Ok(outside)
    }

    /// A connection to the server that the proxy there has made.
    async fn by_proxy(
        &mut self,
        way: &Way,
        gateway: &ServerName,
        remote: SocketAddr,
        uplink: &PathInfo,
    ) -> Result<(TcpStream, SocketAddr), Failure> {
        self.progress(Step::Call, &format!("SSTP: by way of the proxy {}", way.server));
        let mut connect =
            sstp::connect(gateway, way.login().or_else(|| self.at_proxy.as_ref().map(Login::duplicate)));
        let mut words = connect.request();
        let mut asked = 0;
        loop {
            let (mut tcp, local) = self.tcp(remote, uplink).await?;
            let why = match sstp::ask_proxy(&mut tcp, &mut connect, &words).await? {
                Asked::Open => {
                    self.at_proxy = connect.into_login();
                    return Ok((tcp, local));
                }
                Asked::Again(again) => {
                    words = again;
                    continue;
                }
                Asked::Who(why) => why,
            };
            // A person takes minutes, for which the proxy does not wait.
            drop(tcp);
            self.at_proxy = None;
            if self.login.is_some() {
                // Another way is found in the time that a person would take.
                return Err(Failure { code: FailureCode::ServerUnreachable, ..why });
            }
            if way.password.is_some() {
                return Err(why);
            }
            if asked == TRIES {
                return Err(
                    why.hint("who are you there? The proxy's name and password need not be the server's")
                );
            }
            asked += 1;
            words = connect.tell(self.who_asks(way, &why).await?);
        }
    }

    /// Asks a person whom the proxy is to be told.
    async fn who_asks(&self, way: &Way, why: &Failure) -> Result<Login, Failure> {
        let mut reason = match why.code {
            FailureCode::AuthenticationFailed => why.text.clone(),
            _ => String::new(),
        };
        let proxy = &way.server;
        self.progress(Step::Call, &format!("waiting for the password of the proxy {proxy}"));
        let ask = |field: &str, prompt: String, reason: String| {
            self.passwords.asker.ask(Wanted { field: field.to_owned(), prompt, reason })
        };
        let user = match &way.user {
            Some(user) => user.clone(),
            None => {
                let prompt = format!("User name at the proxy {proxy}");
                let typed = ask("proxy-user", prompt, core::mem::take(&mut reason)).await?;
                let user = str::from_utf8(typed.expose()).ok().filter(|user| !user.contains(':'));
                user.map(ToOwned::to_owned).ok_or_else(|| {
                    let text = "the name for the proxy has a colon, or is no text: no proxy can take it";
                    Failure::new(FailureCode::ConfigurationInvalid, Step::Call, text)
                        .hint("ctl up  again, with another name")
                })?
            }
        };
        let password =
            ask("proxy-password", format!("Password for {user} at the proxy {proxy}"), reason).await?;
        Ok(Login { user, password })
    }
}

/// By which proxy that gateway is reached, if it is by one.
///
/// # Errors
/// A file is missing, or this host's environment names what is none.
pub(super) fn proxy_of(
    profile: &Profile,
    files: &Files,
    gateway: &ServerName,
) -> Result<Option<Way>, Failure> {
    match profile.proxy() {
        None => Ok(None),
        Some(ProxyRule::Named(proxy)) => {
            let password = proxy.password.as_ref().map(|file| files.secret(file)).transpose()?;
            Ok(Some(Way { server: proxy.server.clone(), user: proxy.user.clone(), password }))
        }
        Some(ProxyRule::System) => {
            let found = system_proxy(environment, gateway, adit_sstp::PORT);
            let found = found.map_err(|error| {
                Failure::new(FailureCode::ConfigurationInvalid, Step::Profile, error.to_string())
                    .hint("the daemon's environment:  systemctl edit aditd  and  [Service] Environment=…, or name the proxy in the profile")
            })?;
            Ok(found.map(|proxy| {
                let (user, password) = proxy.login.unzip();
                Way { server: proxy.server, user, password }
            }))
        }
    }
}
