//! The TCP connection that carries a link, where one does: to the server, or by way of a proxy.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use adit_core::{Failure, FailureCode, Step};
use adit_pki::TrustAnchors;
use adit_profile::{Profile, ProxyRule, ServerName, system_proxy};
use adit_sstp::proxy::Login;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpSocket, TcpStream};

use super::Attempt;
use crate::client::LogIn;
use crate::files::Files;
use crate::host::{MARK, PathInfo};
use crate::sstp;
use crate::start::environment;

/// How long TCP may take.
const CONNECT: Duration = Duration::from_secs(10);

/// A proxy, and what it is told if it asks who that is.
pub(super) struct Way {
    pub(super) server: ServerName,
    login: Option<Login>,
}

impl Attempt {
    /// A connection to the server, and its own end.
    pub(super) async fn way(
        &self,
        proxy: Option<Way>,
        gateway: &ServerName,
        remote: SocketAddr,
        uplink: &PathInfo,
    ) -> Result<(TcpStream, SocketAddr), Failure> {
        match proxy {
            Some(proxy) => self.by_proxy(proxy, gateway, remote, uplink).await,
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
        let answered = || self.login.iter().for_each(LogIn::answered);
        let revocation = self.profile.revocation;
        let outside = sstp::meet(tcp, server, gateway, behind_proxy, revocation, answered).await?;
        let met = format!("SSTP: {}, the server is who it is to be", outside.cipher);
        self.progress(Step::Call, &met);
        Ok(outside)
    }

    /// A connection to the server that the proxy there has made.
    async fn by_proxy(
        &self,
        way: Way,
        gateway: &ServerName,
        remote: SocketAddr,
        uplink: &PathInfo,
    ) -> Result<(TcpStream, SocketAddr), Failure> {
        self.progress(Step::Call, &format!("SSTP: by way of the proxy {}", way.server));
        let mut connect = sstp::connect(gateway, way.login);
        let mut words = connect.request();
        loop {
            let (mut tcp, local) = self.tcp(remote, uplink).await?;
            match sstp::ask_proxy(&mut tcp, &mut connect, &words).await? {
                Some(again) => words = again,
                None => return Ok((tcp, local)),
            }
        }
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
            let login = proxy.user.clone().zip(password).map(|(user, password)| Login { user, password });
            Ok(Some(Way { server: proxy.server.clone(), login }))
        }
        Some(ProxyRule::System) => {
            let found = system_proxy(environment, gateway, adit_sstp::PORT);
            let found = found.map_err(|error| {
                Failure::new(FailureCode::ConfigurationInvalid, Step::Profile, error.to_string())
                    .hint("the daemon's environment:  systemctl edit aditd  and  [Service] Environment=…, or name the proxy in the profile")
            })?;
            Ok(found.map(|proxy| {
                let login = proxy.login.map(|(user, password)| Login { user, password });
                Way { server: proxy.server, login }
            }))
        }
    }
}
