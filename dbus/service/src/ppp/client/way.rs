//! The TCP connection that carries a link, where one does: to the server, or by way of a proxy.

use std::net::SocketAddr;
use std::time::Duration;

use adit_core::{Failure, FailureCode, Step};
use adit_profile::{Proxy, ServerName};
use adit_sstp::proxy::Login;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpSocket, TcpStream};

use super::Attempt;
use crate::host::{MARK, PathInfo};
use crate::sstp;

/// How long TCP may take.
const CONNECT: Duration = Duration::from_secs(10);

impl Attempt {
    /// A connection to the server, and its own end.
    pub(super) async fn way(
        &self,
        gateway: &ServerName,
        remote: SocketAddr,
        uplink: &PathInfo,
    ) -> Result<(TcpStream, SocketAddr), Failure> {
        match self.profile.proxy() {
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

    /// A connection to the server that a proxy has made.
    async fn by_proxy(
        &self,
        proxy: &Proxy,
        gateway: &ServerName,
        remote: SocketAddr,
        uplink: &PathInfo,
    ) -> Result<(TcpStream, SocketAddr), Failure> {
        self.progress(Step::Call, &format!("SSTP: by way of the proxy {}", proxy.server));
        let password = proxy.password.as_ref().map(|file| self.daemon.files().secret(file)).transpose()?;
        let login = proxy.user.clone().zip(password).map(|(user, password)| Login { user, password });
        let mut connect = sstp::connect(gateway, login);
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
