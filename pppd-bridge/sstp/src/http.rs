//! What opens the stream: an HTTP request with a method of SSTP's own, whose body never ends ([MS-SSTP] §3.2.4.1, §3.3.5.1).
//! Whatever else speaks HTTP gets a clear answer.

/// The URI of SSTP; a server may be asked for a tenant behind a `?`.
const PATH: &str = "/sra_{BA195980-CD49-458b-9E23-C84EE0ADCD75}/";
const METHOD: &str = "SSTP_DUPLEX_POST";
/// A body without an end.
const ENDLESS: &str = "18446744073709551615";
/// Octets of a head that are waited for: more than any browser sends.
const LONGEST: usize = 8 * 1024;
/// Characters of what a peer says that are kept.
const MOST_SAID: usize = 120;

/// Octets that hold no head yet, or what they hold and how many octets that is.
pub(crate) type Found<T> = Result<Option<(T, usize)>, NotHttp>;

/// What came is no head of HTTP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NotHttp {
    /// It is not HTTP.
    Malformed,
    /// It never ends.
    TooLong,
}

/// A request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Request {
    method: String,
    path: String,
    pub(crate) host: Option<String>,
    pub(crate) correlation: Option<String>,
}

impl Request {
    /// Whether it opens an SSTP connection.
    pub(crate) fn is_sstp(&self) -> bool {
        let path = self.path.split('?').next().unwrap_or_default();
        self.method == METHOD && path.eq_ignore_ascii_case(PATH)
    }

    /// What it asks for.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// What it gets if it is not SSTP's.
    pub(crate) fn answer(&self) -> Vec<u8> {
        match self.method.as_str() {
            "GET" => page(true),
            "HEAD" => page(false),
            METHOD => refusal("404 Not Found", "SSTP is not at that address."),
            _ => refusal("405 Method Not Allowed\r\nAllow: GET, HEAD", "This is a VPN server (SSTP)."),
        }
    }
}

/// What SSTP's request is answered with.
pub(crate) fn accept() -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {ENDLESS}\r\n\r\n").into_bytes()
}

/// What octets that are no request are answered with.
pub(crate) fn refuse(why: NotHttp) -> Vec<u8> {
    match why {
        NotHttp::Malformed => refusal("400 Bad Request", "That is not HTTP/1.1."),
        NotHttp::TooLong => refusal("431 Request Header Fields Too Large", "That is too much."),
    }
}

fn page(body: bool) -> Vec<u8> {
    let text = "This is a VPN server. It speaks SSTP; there is nothing here for a browser.\n";
    plain("200 OK", text, body)
}

fn refusal(status: &str, text: &str) -> Vec<u8> {
    plain(status, &format!("{text}\n"), true)
}

fn plain(status: &str, text: &str, body: bool) -> Vec<u8> {
    let length = text.len();
    let text = if body { text } else { "" };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{text}"
    )
    .into_bytes()
}

/// The client's request.
pub(crate) fn open(host: &str, correlation: [u8; 16]) -> Vec<u8> {
    let id = uuid(correlation);
    format!(
        "{METHOD} {PATH} HTTP/1.1\r\nSSTPCORRELATIONID: {{{id}}}\r\nContent-Length: {ENDLESS}\r\nHost: {host}\r\n\r\n"
    )
    .into_bytes()
}

/// In the form of RFC 9562 §4, as version 4.
fn uuid(bytes: [u8; 16]) -> String {
    let number = u128::from_be_bytes(bytes);
    // Version and variant are fixed bits.
    let number = number & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{number:032X}");
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

/// A server looks for a request.
pub(crate) fn request(stream: &[u8]) -> Found<Request> {
    // What is no text will not become a request, however long it is waited for.
    if stream.first().is_some_and(|first| !first.is_ascii_uppercase()) {
        return Err(NotHttp::Malformed);
    }
    let Some((head, length)) = head(stream)? else { return Ok(None) };
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(path), Some("HTTP/1.0" | "HTTP/1.1"), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(NotHttp::Malformed);
    };
    let mut request = Request { method: said(method), path: said(path), host: None, correlation: None };
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { return Err(NotHttp::Malformed) };
        let value = said(value.trim());
        if name.eq_ignore_ascii_case("Host") {
            request.host = Some(value);
        } else if name.eq_ignore_ascii_case("SSTPCORRELATIONID") {
            request.correlation = Some(value);
        }
    }
    Ok(Some((request, length)))
}

/// A client looks for the answer: its status, and the words behind.
pub(crate) fn response(stream: &[u8]) -> Found<(u16, String)> {
    let start = b"HTTP/1.";
    if !stream.iter().zip(start).all(|(octet, wanted)| octet == wanted) {
        return Err(NotHttp::Malformed);
    }
    let Some((head, length)) = head(stream)? else { return Ok(None) };
    let line = head.split("\r\n").next().unwrap_or_default();
    let (_, rest) = line.split_once(' ').ok_or(NotHttp::Malformed)?;
    let (status, words) = rest.split_once(' ').unwrap_or((rest, ""));
    let status = status.parse().map_err(|_| NotHttp::Malformed)?;
    Ok(Some(((status, said(words)), length)))
}

fn head(stream: &[u8]) -> Found<&str> {
    let searched = stream.get(..LONGEST).unwrap_or(stream);
    let Some(at) = searched.windows(4).position(|octets| octets == b"\r\n\r\n") else {
        return if stream.len() >= LONGEST { Err(NotHttp::TooLong) } else { Ok(None) };
    };
    let head = searched.get(..at).unwrap_or_default();
    let head = core::str::from_utf8(head).map_err(|_| NotHttp::Malformed)?;
    Ok(Some((head, at.saturating_add(4))))
}

/// What a peer says, for a log.
fn said(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MOST_SAID).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_request_is_the_servers() {
        let mut octets = open("vpn.example.com", [0xff; 16]);
        let length = octets.len();
        octets.extend(b"\x10\x01");
        for cut in 0..length {
            assert_eq!(request(&octets[..cut]), Ok(None), "{cut}");
        }
        let (request, found) = request(&octets).unwrap().unwrap();
        assert_eq!(found, length);
        assert!(request.is_sstp());
        assert_eq!(request.host.as_deref(), Some("vpn.example.com"));
        assert_eq!(request.correlation.as_deref(), Some("{FFFFFFFF-FFFF-4FFF-BFFF-FFFFFFFFFFFF}"));
    }

    #[test]
    fn what_else_speaks_http_is_answered() {
        for (octets, status, body) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", "200 OK", true),
            ("HEAD / HTTP/1.0\r\n\r\n", "200 OK", false),
            ("POST /x HTTP/1.1\r\n\r\n", "405 Method Not Allowed", true),
            ("SSTP_DUPLEX_POST /other/ HTTP/1.1\r\n\r\n", "404 Not Found", true),
        ] {
            let (request, _) = request(octets.as_bytes()).unwrap().unwrap();
            assert!(!request.is_sstp());
            let answer = String::from_utf8(request.answer()).unwrap();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{answer}");
            assert_eq!(!answer.ends_with("\r\n\r\n"), body, "{answer}");
        }
        let tenant = format!("{METHOD} {PATH}?tenantid=x HTTP/1.1\r\n\r\n");
        assert!(request(tenant.as_bytes()).unwrap().unwrap().0.is_sstp());
    }

    #[test]
    fn what_is_no_request_is_not_waited_for() {
        for bad in ["\u{16}\u{3}", "PUT\r\n\r\n", "GET / HTTP/2\r\n\r\n", "GET / HTTP/1.1\r\nx\r\n\r\n"] {
            assert_eq!(request(bad.as_bytes()), Err(NotHttp::Malformed), "{bad}");
        }
        assert_eq!(request(&[b'A'; LONGEST - 1]), Ok(None));
        assert_eq!(request(&[b'A'; LONGEST]), Err(NotHttp::TooLong));
        assert_eq!(response(b"SSH-2.0"), Err(NotHttp::Malformed));
        assert_eq!(response(b"HTTP/1.1 x y\r\n\r\n"), Err(NotHttp::Malformed));
    }

    #[test]
    fn the_servers_answer_is_read() {
        let accepted = accept();
        assert_eq!(response(&accepted), Ok(Some(((200, "OK".into()), accepted.len()))));
        let refused = b"HTTP/1.1 404 Not Found\r\nServer: x\r\n\r\nbody";
        assert_eq!(response(refused), Ok(Some(((404, "Not Found".into()), refused.len() - 4))));
        assert_eq!(response(b"HTTP/1.1 407\r\n\r\n").unwrap().unwrap().0.0, 407);
    }
}
