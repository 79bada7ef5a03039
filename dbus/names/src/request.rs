use std::fmt;
use std::io::{self, BufRead};
use std::net::IpAddr;

/// The most octets of a request.
const LONGEST: u64 = 16 * 1024;
/// Name servers of a link; resolv.conf(5) has three.
const MOST_SERVERS: usize = 8;
/// Domains of a link.
const MOST_DOMAINS: usize = 32;
/// IFNAMSIZ, without its zero.
const LONGEST_LINK: usize = 15;

/// How a host's names are set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// In `/etc/resolv.conf` itself.
    File,
    /// By resolvconf, which writes that file.
    Resolvconf,
}

/// What names a link has servers for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Names {
    /// The link.
    pub link: String,
    /// Whom to ask, best first.
    pub servers: Vec<IpAddr>,
    /// Domains in which a name without a dot is looked for.
    pub search: Vec<String>,
    /// Nobody else is asked for anything.
    pub only: bool,
}

/// What the helper is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// Which way this host has now.
    Which,
    /// A link's servers are asked from now on.
    Set(Way, Names),
    /// They are not any more.
    Clear(Way, String),
}

/// What becomes of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// It is so, in this way.
    Done(Way),
    /// It is not: why.
    Failed(String),
}

/// A request that is none.
#[derive(Debug)]
pub enum RequestError {
    /// It can't be read.
    Broken(io::Error),
    /// It says something that no request says: what.
    Odd(&'static str),
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(why) => write!(f, "a request can't be read: {why}"),
            Self::Odd(what) => write!(f, "a request that is none: {what}"),
        }
    }
}

impl Way {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Resolvconf => "resolvconf",
        }
    }

    fn of(word: &str) -> Option<Self> {
        [Self::File, Self::Resolvconf].into_iter().find(|way| way.as_str() == word)
    }
}

impl Request {
    /// The request's text: a line for each thing, and an empty one.
    #[must_use]
    pub fn emit(&self) -> String {
        let text = match self {
            Self::Which => "which\n".to_owned(),
            Self::Set(way, names) => format!("set {}\n{}", way.as_str(), names.emit()),
            Self::Clear(way, link) => format!("clear {}\nlink {link}\n", way.as_str()),
        };
        text + "\n"
    }

    /// Reads one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(from: impl BufRead) -> Result<Self, RequestError> {
        let mut lines = Vec::new();
        for line in from.take(LONGEST).lines() {
            let line = line.map_err(RequestError::Broken)?;
            if line.is_empty() {
                return Self::of(&lines);
            }
            lines.push(line);
        }
        Err(RequestError::Odd("it is cut off, or too long"))
    }

    fn of(lines: &[String]) -> Result<Self, RequestError> {
        let (verb, rest) = lines.split_first().ok_or(RequestError::Odd("it is empty"))?;
        let (verb, way) = verb.split_once(' ').unwrap_or((verb, ""));
        let way = Way::of(way).ok_or(RequestError::Odd("there is no such way"));
        match (verb, rest) {
            ("which", []) => Ok(Self::Which),
            ("set", rest) => Ok(Self::Set(way?, Names::of(rest)?)),
            ("clear", [link]) => {
                let link = link.strip_prefix("link ").filter(|link| is_link(link));
                Ok(Self::Clear(way?, link.ok_or(RequestError::Odd("no link has such a name"))?.to_owned()))
            }
            _ => Err(RequestError::Odd("it begins with neither which, set nor clear")),
        }
    }
}

impl Names {
    /// As lines.
    pub(crate) fn emit(&self) -> String {
        let mut out = format!("link {}\n", self.link);
        self.servers.iter().take(MOST_SERVERS).for_each(|server| out += &format!("server {server}\n"));
        self.search.iter().take(MOST_DOMAINS).for_each(|domain| out += &format!("search {domain}\n"));
        if self.only {
            out += "only\n";
        }
        out
    }

    /// Of lines.
    pub(crate) fn of(lines: &[String]) -> Result<Self, RequestError> {
        let mut names = Self { link: String::new(), servers: Vec::new(), search: Vec::new(), only: false };
        for line in lines {
            match line.split_once(' ').unwrap_or((line, "")) {
                ("link", link) if is_link(link) => link.clone_into(&mut names.link),
                ("server", server) => {
                    let server = server.parse().map_err(|_| RequestError::Odd("a server has an address"))?;
                    names.servers.push(server);
                }
                ("search", domain) if is_domain(domain) => names.search.push(domain.to_owned()),
                ("only", "") => names.only = true,
                _ => return Err(RequestError::Odd("a line that says nothing")),
            }
        }
        let fits = !names.link.is_empty()
            && (1..=MOST_SERVERS).contains(&names.servers.len())
            && names.search.len() <= MOST_DOMAINS;
        if fits { Ok(names) } else { Err(RequestError::Odd("it has no link or no server, or too many")) }
    }
}

impl Reply {
    /// The reply's line.
    #[must_use]
    pub fn emit(&self) -> String {
        match self {
            Self::Done(way) => format!("{}\n", way.as_str()),
            Self::Failed(why) => format!("failed {}\n", why.replace(char::is_control, " ")),
        }
    }

    /// Reads one; `None`: it is none.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let line = text.strip_suffix('\n')?;
        match line.strip_prefix("failed ") {
            Some(why) => Some(Self::Failed(why.to_owned())),
            None => Way::of(line).map(Self::Done),
        }
    }
}

/// As the kernel's `dev_valid_name`, and no more than letters, digits and three signs.
fn is_link(name: &str) -> bool {
    (1..=LONGEST_LINK).contains(&name.len())
        && !name.starts_with(['.', '-'])
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

/// RFC 1035 §2.3.4.
fn is_domain(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let label = |label: &str| (1..=63).contains(&label.len()) && label.chars().all(letter);
    name.len() <= 253 && name.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Request, RequestError> {
        Request::read(text.as_bytes())
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for text in [
            "",
            "\n",
            "which",
            "set file\nlink adit0\n\n",
            "set file\nserver 10.1.0.53\n\n",
            "set nowhere\nlink adit0\nserver 10.1.0.53\n\n",
            "set file\nlink ../x\nserver 10.1.0.53\n\n",
            "set file\nlink -x\nserver 10.1.0.53\n\n",
            "set file\nlink adit0\nserver 10.1.0.53 options x\n\n",
            "set file\nlink adit0\nserver 10.1.0.53\nsearch a b\n\n",
            "set file\nlink adit0\nserver 10.1.0.53\nsearch x\rnameserver\n\n",
            "clear file\nlink \n\n",
            "clear file\n\n",
        ] {
            read(text).unwrap_err();
        }
        read(&format!("set file\nlink adit0\n{}\n", "server 10.1.0.53\n".repeat(9))).unwrap_err();
    }

    proptest! {
        #[test]
        fn what_is_said_is_heard(
            servers in proptest::collection::vec(any::<IpAddr>(), 1..=8),
            search in proptest::collection::vec("[a-z0-9_-]{1,9}(\\.[a-z]{1,9}){0,3}", 0..5),
            only in any::<bool>(),
        ) {
            let names = Names { link: "adit0".into(), servers, search, only };
            for way in [Way::File, Way::Resolvconf] {
                for request in [Request::Which, Request::Set(way, names.clone()), Request::Clear(way, "ppp7".into())] {
                    prop_assert_eq!(read(&request.emit()).unwrap(), request);
                }
                prop_assert_eq!(Reply::read(&Reply::Done(way).emit()), Some(Reply::Done(way)));
            }
        }

        #[test]
        fn nothing_that_comes_does_harm(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Request::read(octets.as_slice());
        }
    }
}
