//! What RADIUS servers ask unasked (RFC 5176): to end a session, to change it.

use std::collections::VecDeque;
use std::future::Future;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::{Arc, Weak};

use adit_auth::radius::MAX_LEN;
use adit_auth::radius::dynamic::{Outcome, Request};
use adit_core::{Failure, FailureCode, Step};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use super::Radius;

/// Answers that are kept for requests that come again.
const KEPT: usize = 64;

/// Listens on `port`; `act` carries out what a server wants. Ends when nobody has `radius` any more, or by its handle.
///
/// # Errors
/// The port is taken.
pub(crate) async fn listen<F, Act>(
    port: u16,
    radius: &Arc<Radius>,
    act: Act,
) -> Result<JoinHandle<()>, Failure>
where
    F: Future<Output = Outcome> + Send + 'static,
    Act: Fn(Request) -> F + Send + Sync + 'static,
{
    let socket = UdpSocket::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).await.map_err(|e| {
        let text = format!("UDP port {port} cannot be bound for RADIUS' dynamic authorization: {e}");
        Failure::new(FailureCode::KernelRefused, Step::Kernel, text)
            .hint("choose another  dynamic-authorization-port  in server.toml, or leave it out")
    })?;
    Ok(tokio::spawn(serve(socket, Arc::downgrade(radius), act)))
}

async fn serve<F, Act>(socket: UdpSocket, radius: Weak<Radius>, act: Act)
where
    F: Future<Output = Outcome> + Send + 'static,
    Act: Fn(Request) -> F + Send + Sync + 'static,
{
    let mut buffer = vec![0; MAX_LEN];
    let mut answered: VecDeque<(SocketAddr, Vec<u8>, Vec<u8>)> = VecDeque::new();
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
        let Some(radius) = radius.upgrade() else { return };
        let datagram = buffer.get(..length).unwrap_or_default().to_vec();
        // A request that comes again gets the same answer (RFC 5176 §2.3): its session may be gone by then.
        if let Some((.., answer)) = answered.iter().find(|(f, asked, _)| (f, asked) == (&from, &datagram)) {
            let _ = socket.send_to(answer, from).await;
            continue;
        }
        let Some(secret) = radius.secret_of(from.ip()) else {
            tracing::debug!(%from, "a RADIUS request of nobody we know");
            continue;
        };
        let request = match Request::read(&datagram, secret) {
            Ok(Some(request)) => request,
            Ok(None) => continue,
            Err(why) => {
                tracing::warn!(%from, "a RADIUS request was not believed: {why}");
                continue;
            }
        };
        tracing::info!(%from, whose = ?request.whose, wish = ?request.wish, "RADIUS request");
        let outcome = act(request.clone()).await;
        if let Some(answer) = request.answer(outcome, secret) {
            let _ = socket.send_to(&answer, from).await;
            answered.push_back((from, datagram, answer));
            if answered.len() > KEPT {
                answered.pop_front();
            }
        }
    }
}
