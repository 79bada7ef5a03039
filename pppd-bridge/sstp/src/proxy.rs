//! By way of an HTTP proxy: CONNECT (RFC 9110 §9.3.6), with Basic (RFC 7617) or Digest (RFC 7616), which is preferred.

use adit_core::{Failure, FailureCode, Secret, Step};
use base64ct::{Base64, Encoding};
use md5::Md5;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::http;

/// Name and password for a proxy.
#[derive(Debug)]
pub struct Login {
    /// The name, without a colon.
    pub user: String,
    /// The password.
    pub password: Secret,
}

impl Login {
    /// The same once more.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self { user: self.user.clone(), password: self.password.duplicate() }
    }
}

/// A request for a connection to a server.
pub struct Connect {
    /// `vpn.example.com:443`.
    target: String,
    login: Option<Login>,
    /// Unpredictable, for Digest.
    cnonce: String,
    /// What the proxy has asked last.
    challenge: Option<Challenge>,
    /// Whether it has heard `login`.
    told: bool,
    received: Vec<u8>,
}

/// What a proxy's words mean.
#[derive(Debug)]
pub enum Answer {
    /// More must come.
    More,
    /// The connection leads to the server.
    Open,
    /// The proxy wants to know who asks: dial it again, and say this.
    Again(Secret),
    /// The same, and there is nothing to say, or it was not accepted: somebody else is found who knows
    /// ([`Connect::tell`]), or this is how it ends.
    Who(Failure),
    /// It does not connect.
    Refused(Failure),
}

/// What is asked by a 407.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Challenge {
    Basic,
    Digest { sha256: bool, session: bool, realm: String, nonce: String, opaque: Option<String>, qop: bool },
}

impl Connect {
    /// For a connection to `target`, a host and its port. `cnonce` is unpredictable.
    #[must_use]
    pub fn new(target: String, login: Option<Login>, cnonce: [u8; 16]) -> Self {
        let cnonce = format!("{:032x}", u128::from_be_bytes(cnonce));
        Self { target, login, cnonce, challenge: None, told: false, received: Vec::new() }
    }

    /// What the proxy is told first. It hears of no password before it asks.
    #[must_use]
    pub fn request(&self) -> Secret {
        self.asking("")
    }

    fn asking(&self, header: &str) -> Secret {
        let target = &self.target;
        let text = Zeroizing::new(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{header}\r\n"));
        Secret::from(text.as_bytes())
    }

    /// The proxy says this, in pieces of any size.
    pub fn received(&mut self, octets: &[u8]) -> Answer {
        self.received.extend_from_slice(octets);
        let ((status, words), length) = match http::response(&self.received) {
            Ok(None) => return Answer::More,
            Ok(Some(found)) => found,
            Err(_) => {
                let text = "what answers at the proxy's address is no HTTP proxy";
                return Answer::Refused(failure(FailureCode::PeerMisbehaved, text));
            }
        };
        let head = String::from_utf8_lossy(self.received.get(..length).unwrap_or_default()).into_owned();
        let more = self.received.len() > length;
        self.received.clear();
        match status {
            200..=299 if more => {
                let text = "something behind the proxy speaks before it is spoken to, which TLS never does";
                Answer::Refused(failure(FailureCode::PeerMisbehaved, text))
            }
            200..=299 => Answer::Open,
            407 => self.who(&head),
            _ => Answer::Refused(refused(&self.target, status, &words)),
        }
    }

    fn who(&mut self, head: &str) -> Answer {
        // Digest comes after Basic, and SHA-256 after MD5.
        let Some(challenge) = challenges(head).into_iter().max() else {
            let text =
                "the proxy wants to know who asks in a way that is not known here (Basic and Digest are)";
            return Answer::Refused(failure(FailureCode::ProposalMismatch, text));
        };
        self.challenge = Some(challenge);
        match (&self.login, self.told) {
            (None, _) => {
                let text = "the proxy wants to know who asks";
                Answer::Who(
                    failure(FailureCode::NoSecret, text).hint("add  proxy-user  and  proxy-password-file"),
                )
            }
            (Some(_), true) => {
                let text = "the proxy does not accept the name or the password";
                let hint = "check  proxy-user  and the file of  proxy-password-file";
                Answer::Who(failure(FailureCode::AuthenticationFailed, text).hint(hint))
            }
            (Some(_), false) => Answer::Again(self.asking_as()),
        }
    }

    /// What the proxy has been told, for the next connection; it is not told unasked there either.
    #[must_use]
    pub fn into_login(self) -> Option<Login> {
        self.login
    }

    /// Who asks, after [`Answer::Who`]. Dial the proxy again, and say what is returned.
    pub fn tell(&mut self, login: Login) -> Secret {
        self.login = Some(login);
        self.asking_as()
    }

    fn asking_as(&mut self) -> Secret {
        let (Some(challenge), Some(login)) = (&self.challenge, &self.login) else { return self.asking("") };
        self.told = true;
        let value = proof(challenge, login, &self.target, &self.cnonce);
        let header = Zeroizing::new(format!("Proxy-Authorization: {}\r\n", *value));
        self.asking(&header)
    }
}

fn failure(code: FailureCode, text: &str) -> Failure {
    Failure::new(code, Step::Call, text)
}

fn refused(target: &str, status: u16, words: &str) -> Failure {
    let (code, text) = match status {
        502..=504 => (FailureCode::ServerUnreachable, format!("the proxy does not reach {target}")),
        403 | 405 => {
            (FailureCode::NotAuthorized, format!("the proxy does not connect to {target}: it is not allowed"))
        }
        _ => (FailureCode::ServerUnreachable, format!("the proxy does not connect to {target}")),
    };
    Failure::new(code, Step::Call, text)
        .said(format!("{status} {words}").trim_end())
        .hint("ask whoever runs the proxy: it has to let CONNECT to that port pass")
}

/// Those of all Proxy-Authenticate headers that are known here.
fn challenges(head: &str) -> Vec<Challenge> {
    let is_challenge = |name: &str| name.eq_ignore_ascii_case("Proxy-Authenticate");
    let headers = head.split("\r\n").filter_map(|line| line.split_once(':'));
    headers.filter(|(name, _)| is_challenge(name)).filter_map(|(_, value)| challenge(value.trim())).collect()
}

fn challenge(value: &str) -> Option<Challenge> {
    let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
    if scheme.eq_ignore_ascii_case("Basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("Digest") {
        return None;
    }
    let parameters = parameters(rest);
    let get = |wanted: &str| {
        parameters.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.clone())
    };
    let algorithm = get("algorithm").unwrap_or_else(|| "MD5".into()).to_ascii_uppercase();
    let (sha256, session) = match algorithm.as_str() {
        "MD5" => (false, false),
        "MD5-SESS" => (false, true),
        "SHA-256" => (true, false),
        "SHA-256-SESS" => (true, true),
        _ => return None,
    };
    let qop = get("qop");
    let auth = |all: &String| all.split(',').any(|one| one.trim().eq_ignore_ascii_case("auth"));
    if qop.as_ref().is_some_and(|all| !auth(all)) {
        return None;
    }
    Some(Challenge::Digest {
        sha256,
        session,
        realm: get("realm")?,
        nonce: get("nonce")?,
        opaque: get("opaque"),
        qop: qop.is_some(),
    })
}

/// `name=value, name="quoted \"value\""`.
fn parameters(text: &str) -> Vec<(String, String)> {
    let (mut all, mut rest) = (Vec::new(), text.trim_start());
    while let Some((name, after)) = rest.split_once('=') {
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted_string(quoted),
            None => {
                let (value, after) = after.split_once(',').unwrap_or((after, ""));
                (value.trim().to_owned(), after)
            }
        };
        all.push((name.trim().to_owned(), value));
        rest = after.trim_start_matches([',', ' ', '\t']);
    }
    all
}

/// Up to the closing quotation mark, and what is behind it.
fn quoted_string(text: &str) -> (String, &str) {
    let (mut value, mut escaped) = (String::new(), false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => {
                value.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => return (value, text.get(at.saturating_add(1)..).unwrap_or_default()),
            _ => value.push(c),
        }
    }
    (value, "")
}

fn proof(challenge: &Challenge, login: &Login, target: &str, cnonce: &str) -> Zeroizing<String> {
    let user = &login.user;
    let pair =
        |middle: &str| Zeroizing::new([user.as_bytes(), middle.as_bytes(), login.password.expose()].concat());
    let Challenge::Digest { sha256, session, realm, nonce, opaque, qop } = challenge else {
        return Zeroizing::new(format!("Basic {}", Base64::encode_string(&pair(":"))));
    };
    let hash = |parts: &[&[u8]]| hash(*sha256, &parts.join(&b':'));
    let mut first = Zeroizing::new(self::hash(*sha256, &pair(&format!(":{realm}:"))));
    if *session {
        first = Zeroizing::new(hash(&[first.as_bytes(), nonce.as_bytes(), cnonce.as_bytes()]));
    }
    let second = hash(&[b"CONNECT", target.as_bytes()]);
    let count = "00000001";
    let response = match qop {
        true => hash(&[
            first.as_bytes(),
            nonce.as_bytes(),
            count.as_bytes(),
            cnonce.as_bytes(),
            b"auth",
            second.as_bytes(),
        ]),
        false => hash(&[first.as_bytes(), nonce.as_bytes(), second.as_bytes()]),
    };
    let algorithm = match (sha256, session) {
        (false, false) => "MD5",
        (false, true) => "MD5-sess",
        (true, false) => "SHA-256",
        (true, true) => "SHA-256-sess",
    };
    let [user, realm, nonce] = [user, realm, nonce].map(|text| quoted(text));
    let mut value = format!(
        "Digest username={user}, realm={realm}, nonce={nonce}, uri=\"{target}\", response=\"{response}\", algorithm={algorithm}"
    );
    if *qop {
        value.push_str(&format!(", qop=auth, nc={count}, cnonce=\"{cnonce}\""));
    }
    if let Some(opaque) = opaque {
        value.push_str(&format!(", opaque={}", quoted(opaque)));
    }
    Zeroizing::new(value)
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn hash(sha256: bool, text: &[u8]) -> String {
    let hex = |octets: &[u8]| octets.iter().map(|octet| format!("{octet:02x}")).collect();
    match sha256 {
        true => hex(&Sha256::digest(text)),
        false => hex(&Md5::digest(text)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{any, proptest};

    use super::*;

    fn login() -> Option<Login> {
        Some(Login { user: "Mufasa".into(), password: Secret::from(&b"Circle of Life"[..]) })
    }

    fn connect(login: Option<Login>) -> Connect {
        Connect::new("vpn.example.com:443".into(), login, [7; 16])
    }

    fn text(secret: &Secret) -> String {
        String::from_utf8(secret.expose().to_vec()).unwrap()
    }

    fn again(answer: Answer) -> String {
        let Answer::Again(request) = answer else { panic!("{answer:?}") };
        text(&request)
    }

    fn code(answer: Answer) -> FailureCode {
        let Answer::Refused(why) = answer else { panic!("{answer:?}") };
        why.code
    }

    #[test]
    fn a_proxy_that_asks_nothing_connects() {
        let mut connect = connect(login());
        let request = text(&connect.request());
        assert_eq!(request, "CONNECT vpn.example.com:443 HTTP/1.1\r\nHost: vpn.example.com:443\r\n\r\n");
        for piece in ["HTTP/1.1 200 Connec", "tion established\r\n\r"] {
            assert!(matches!(connect.received(piece.as_bytes()), Answer::More));
        }
        assert!(matches!(connect.received(b"\n"), Answer::Open));
    }

    #[test]
    fn the_password_is_told_when_it_is_asked_for_and_once() {
        let asks = b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"p\"\r\n\r\nbody";
        let mut one = connect(login());
        let request = again(one.received(asks));
        assert!(request.contains("Proxy-Authorization: Basic TXVmYXNhOkNpcmNsZSBvZiBMaWZl\r\n"), "{request}");
        let who = |answer: Answer| {
            let Answer::Who(why) = answer else { panic!("{answer:?}") };
            why.code
        };
        assert_eq!(who(one.received(asks)), FailureCode::AuthenticationFailed);
        // Somebody who knows has been found, at last.
        let mut other = connect(None);
        assert_eq!(who(other.received(asks)), FailureCode::NoSecret);
        let wrong = Login { user: "Scar".into(), password: Secret::from(&b"x"[..]) };
        assert!(text(&other.tell(wrong)).contains("Proxy-Authorization: Basic U2Nhcjp4\r\n"));
        assert_eq!(who(other.received(asks)), FailureCode::AuthenticationFailed);
        assert_eq!(text(&other.tell(login().unwrap())), request);
        assert!(matches!(other.received(b"HTTP/1.1 200 OK\r\n\r\n"), Answer::Open));
        let unknown = b"HTTP/1.1 407 x\r\nProxy-Authenticate: Negotiate\r\n\r\n";
        assert_eq!(code(connect(login()).received(unknown)), FailureCode::ProposalMismatch);
    }

    /// The example of RFC 7616 §3.9.1, whose request is another.
    #[test]
    fn digest_is_that_of_the_rfc() {
        let of = |sha256| Challenge::Digest {
            sha256,
            session: false,
            realm: "http-auth@example.org".into(),
            nonce: "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v".into(),
            opaque: Some("FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS".into()),
            qop: true,
        };
        // H(A1) as the example's, and A2 of CONNECT, by the formula of §3.4.1.
        for sha256 in [false, true] {
            let a1 = hash(sha256, b"Mufasa:http-auth@example.org:Circle of Life");
            let known = [
                "3d78807defe7de2157e2b0b6573a855f",
                "7987c64c30e25f1b74be53f966b49b90f2808aa92faf9a00262392d7b4794232",
            ];
            assert_eq!(a1, known[usize::from(sha256)]);
            let a2 = hash(sha256, b"CONNECT:vpn.example.com:443");
            let all = format!("{a1}:7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v:00000001:cnonce:auth:{a2}");
            let response = hash(sha256, all.as_bytes());
            let value = proof(&of(sha256), &login().unwrap(), "vpn.example.com:443", "cnonce");
            assert!(value.contains(&format!("response=\"{response}\"")), "{}", *value);
            assert!(value.contains("opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""));
        }
    }

    #[test]
    fn the_strongest_that_is_offered_is_taken() {
        let head = "HTTP/1.1 407 x\r\nProxy-Authenticate: Basic realm=\"p\"\r\n\
                    Proxy-Authenticate: Digest realm=\"a \\\"b\\\"\", nonce=\"n\", qop=\"auth,auth-int\", algorithm=MD5\r\n\
                    proxy-authenticate: Digest realm=\"p\", nonce=\"m\", qop=\"auth\", algorithm=SHA-256\r\n\r\n";
        let request = again(connect(login()).received(head.as_bytes()));
        assert!(request.contains("algorithm=SHA-256") && request.contains("nonce=\"m\""), "{request}");
        let found = challenges(head);
        assert!(matches!(&found[1], Challenge::Digest { realm, .. } if realm == "a \"b\""), "{found:?}");
    }

    #[test]
    fn what_a_proxy_refuses_is_told() {
        for (status, expected) in [
            (403, FailureCode::NotAuthorized),
            (503, FailureCode::ServerUnreachable),
            (400, FailureCode::ServerUnreachable),
        ] {
            let head = format!("HTTP/1.1 {status} No\r\n\r\n");
            assert_eq!(code(connect(login()).received(head.as_bytes())), expected);
        }
        assert_eq!(code(connect(None).received(b"SSH-2.0\r\n")), FailureCode::PeerMisbehaved);
        assert_eq!(code(connect(None).received(b"HTTP/1.1 200 OK\r\n\r\nx")), FailureCode::PeerMisbehaved);
    }

    proptest! {
        #[test]
        fn nothing_panics(octets in vec(any::<u8>(), 0..200), value in ".{0,80}") {
            let _ = connect(login()).received(&octets);
            let _ = challenge(&value);
            let head = format!("HTTP/1.1 407 x\r\nProxy-Authenticate: Digest {value}\r\n\r\n");
            let _ = connect(login()).received(head.as_bytes());
        }
    }
}
