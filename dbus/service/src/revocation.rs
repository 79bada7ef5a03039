//! Asks whether certificates have been revoked: plain HTTP, bounded in time and size (RFC 5280 §4.2.1.13, RFC 6960
//! appendix A).
//!
//! Only certificates of a path that is verified already name an address that is fetched, and what comes back is believed
//! by its signature alone. Answers are kept for as long as they are good, so that a thousand clients of one authority cost
//! one question.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use adit_core::Failure;
use adit_pki::{Question, Source, Status, Strictness};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, lookup_host};

use crate::clock;
use crate::host::MARK;

/// All questions about one peer get this long: it stands in the middle of IKE_AUTH, and the peer waits.
const PATIENCE: Duration = Duration::from_secs(5);
/// An answer has this many bytes, at most: the CRLs of large authorities fit.
const LARGEST: usize = 8 << 20;
/// The head of an answer.
const LARGEST_HEAD: usize = 16 << 10;
/// Answers that are kept, and their bytes.
const MOST_KEPT: usize = 256;
const MOST_KEPT_BYTES: usize = 64 << 20;

/// By address, and for OCSP by the question too.
type Answers = BTreeMap<(String, Vec<u8>), Vec<u8>>;

/// The answers that are kept.
static KEPT: Mutex<Answers> = Mutex::new(BTreeMap::new());

/// Whether none of the certificates that `questions` are about has been revoked.
///
/// # Errors
/// One has been, or with [`Strictness::Strict`] it could not be learnt.
pub(crate) async fn check(questions: Vec<Question>, strictness: Strictness) -> Result<(), Failure> {
    if strictness == Strictness::Off {
        return Ok(());
    }
    let until = tokio::time::Instant::now() + PATIENCE;
    for question in questions {
        let learnt = match tokio::time::timeout_at(until, learn(&question)).await {
            Ok(learnt) => learnt,
            Err(_) => Err(format!("nobody answered within {} s", PATIENCE.as_secs())),
        };
        if let Err(why) = &learnt {
            tracing::info!(certificate = question.subject(), why, "whether it is revoked is not known");
        }
        question.decide(strictness, learnt)?;
    }
    Ok(())
}

/// Asks one source after the other, until one says something.
async fn learn(question: &Question) -> Result<Status, String> {
    let mut why = String::from("it names no OCSP responder and no CRL");
    for source in question.sources() {
        let key = match source {
            Source::Ocsp { url, request } => (url.clone(), request.clone()),
            Source::Crl { url } => (url.clone(), Vec::new()),
        };
        let kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(kept) = kept
            && let Ok(status) = judge(question, source, kept).await
        {
            return Ok(status);
        }
        match fetch(source).await {
            Err(e) => why = format!("{}: {e}", source.url()),
            Ok(answer) => match judge(question, source, answer.clone()).await {
                Ok(status) => {
                    keep(key, answer);
                    return Ok(status);
                }
                Err(e) => why = format!("{}: {e}", source.url()),
            },
        }
    }
    Err(why)
}

/// Reading a large CRL takes a while, and verifying it is public-key work.
async fn judge(question: &Question, source: &Source, answer: Vec<u8>) -> Result<Status, String> {
    let (question, source) = (question.clone(), source.clone());
    let work = move || question.judge(&source, &answer, clock::wall());
    match tokio::task::spawn_blocking(work).await {
        Ok(judged) => judged.map_err(|e| e.to_string()),
        Err(_) => Err("the check did not finish".to_owned()),
    }
}

fn keep(key: (String, Vec<u8>), answer: Vec<u8>) {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let bytes: usize = kept.values().map(Vec::len).sum();
    if kept.len() >= MOST_KEPT || bytes.saturating_add(answer.len()) > MOST_KEPT_BYTES {
        // What is still good is asked for again.
        kept.clear();
    }
    kept.insert(key, answer);
}

async fn fetch(source: &Source) -> io::Result<Vec<u8>> {
    let url = source.url();
    let (authority, path) = split(url).ok_or_else(|| bad("no address"))?;
    let addresses = lookup_host(authority_with_port(authority)).await?;
    let mut last = bad("the name has no address");
    for address in addresses.take(4) {
        match exchange(address, &request(source, authority, path)).await {
            Ok(answer) => return body(&answer),
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// `http://authority/path`: both parts; without a path it is `/`.
fn split(url: &str) -> Option<(&str, &str)> {
    let rest = url.get(7..)?;
    let at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(at)?;
    (!authority.is_empty() && !authority.contains('@')).then_some((authority, path))
}

fn authority_with_port(authority: &str) -> String {
    let port = authority.rsplit_once(':').is_some_and(|(_, p)| p.bytes().all(|b| b.is_ascii_digit()));
    if port { authority.to_owned() } else { format!("{authority}:80") }
}

fn request(source: &Source, authority: &str, path: &str) -> Vec<u8> {
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let common = format!("Host: {authority}\r\nUser-Agent: adit\r\nConnection: close\r\n");
    match source {
        Source::Crl { .. } => format!("GET {path} HTTP/1.1\r\n{common}\r\n").into_bytes(),
        Source::Ocsp { request, .. } => {
            let length = request.len();
            let head = format!(
                "POST {path} HTTP/1.1\r\n{common}Content-Type: application/ocsp-request\r\nContent-Length: {length}\r\n\r\n"
            );
            [head.as_bytes(), request].concat()
        }
    }
}

/// Sends, and reads until the other side closes.
async fn exchange(address: SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A full tunnel's block lets the tunnel's own packets out; the recording daemon may not mark any.
    if let Err(e) = setsockopt(&socket, sockopt::Mark, &MARK) {
        tracing::debug!(error = %e, "a question about a certificate is not marked");
    }
    let mut stream = socket.connect(address).await?;
    stream.write_all(request).await?;
    let mut answer = Vec::new();
    let limit = u64::try_from(LARGEST + LARGEST_HEAD).unwrap_or(u64::MAX);
    stream.take(limit).read_to_end(&mut answer).await?;
    Ok(answer)
}

/// The body of an HTTP answer.
fn body(answer: &[u8]) -> io::Result<Vec<u8>> {
    let end = answer.windows(4).take(LARGEST_HEAD).position(|w| w == b"\r\n\r\n");
    let end = end.ok_or_else(|| bad("that is no HTTP"))?;
    let (head, rest) = answer.split_at(end);
    let body = rest.get(4..).unwrap_or_default();
    let head = core::str::from_utf8(head).map_err(|_| bad("that is no HTTP"))?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default();
    if status != "200" {
        return Err(bad(&format!("HTTP status {}", status.escape_debug().take(8).collect::<String>())));
    }
    let (mut length, mut chunked) = (None, false);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse::<usize>().ok(),
            "transfer-encoding" => chunked = value.trim().eq_ignore_ascii_case("chunked"),
            _ => {}
        }
    }
    let body = if chunked { unchunk(body)? } else { body.to_vec() };
    match length {
        Some(length) if !chunked && body.len() < length => Err(bad("the answer is cut off")),
        Some(length) if !chunked => Ok(body.get(..length).unwrap_or_default().to_vec()),
        _ if body.len() > LARGEST => Err(bad("the answer is too large")),
        _ => Ok(body),
    }
}

/// RFC 9112 §7.1.
fn unchunk(mut bytes: &[u8]) -> io::Result<Vec<u8>> {
    let cut = || bad("the answer is cut off");
    let mut out = Vec::new();
    loop {
        let end = bytes.windows(2).position(|w| w == b"\r\n").ok_or_else(cut)?;
        let line = bytes.get(..end).and_then(|line| core::str::from_utf8(line).ok()).ok_or_else(cut)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| cut())?;
        if size == 0 {
            return Ok(out);
        }
        let chunk = bytes.get(end + 2..).and_then(|rest| rest.get(..size)).ok_or_else(cut)?;
        out.extend_from_slice(chunk);
        bytes = bytes.get(end + 2 + size + 2..).ok_or_else(cut)?;
    }
}

fn bad(why: &str) -> io::Error {
    io::Error::other(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_two_parts() {
        assert_eq!(split("http://ocsp.example.com"), Some(("ocsp.example.com", "")));
        assert_eq!(split("http://a:8080/x?y"), Some(("a:8080", "/x?y")));
        assert_eq!(split("http://user@a/"), None);
        assert_eq!(split("http:///x"), None);
        assert_eq!(authority_with_port("[2001:db8::1]"), "[2001:db8::1]:80");
        assert_eq!(authority_with_port("a:8080"), "a:8080");
    }

    #[test]
    fn bodies() {
        let of = |text: &str| body(text.as_bytes()).ok();
        assert_eq!(of("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc"), Some(b"ab".to_vec()));
        assert_eq!(of("HTTP/1.0 200 OK\r\n\r\nabc"), Some(b"abc".to_vec()));
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x\r\nc\r\n0\r\n\r\n";
        assert_eq!(of(chunked), Some(b"abc".to_vec()));
        assert_eq!(of("HTTP/1.1 404 Not Found\r\n\r\n"), None);
        assert_eq!(of("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"), None);
        assert_eq!(of("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffff\r\nab"), None);
        assert_eq!(of("abc"), None);
    }
}
