use std::fmt;
use std::io::{self, BufRead, Read};
use std::net::{IpAddr, Ipv4Addr};

/// The most octets of a record.
const LONGEST_RECORD: u64 = 8192;
/// The most octets of a value.
const LONGEST_VALUE: usize = 512;

/// Addresses that are read of one list.
const MOST_SERVERS: usize = 8;
/// IFNAMSIZ, without its zero.
const LONGEST_NAME: usize = 15;

/// What happened to a link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record {
    /// A family of addresses is up.
    Up(Box<Up>),
    /// The link is over.
    Down(Down),
}

/// A family of addresses that is up: IPv4's, or IPv6's link-local ones.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Up {
    /// The network interface.
    pub interface: String,
    /// What pppd calls the tty: here, what carries the link.
    pub device: String,
    /// Our address.
    pub local: IpAddr,
    /// The peer's, of the same family; unspecified if it has said none.
    pub remote: IpAddr,
    /// pppd's `ipparam`.
    pub parameter: String,
    /// pppd's `linkname`. Empty: none.
    pub link: String,
    /// Who the peer has proven to be. Empty: nobody.
    pub peer: String,
    /// Whether this host may use the peer's DNS servers.
    pub use_peer_dns: bool,
    /// The peer's DNS servers.
    pub dns: Vec<IpAddr>,
    /// The peer's WINS servers.
    pub wins: Vec<Ipv4Addr>,
}

/// A link that is over.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Down {
    /// So long it was up, in seconds.
    pub seconds: u64,
    /// Octets that it has sent.
    pub sent: u64,
    /// Octets that it has received.
    pub received: u64,
}

/// A record that is none.
#[derive(Debug)]
pub enum RecordError {
    /// It can't be read.
    Broken(io::Error),
    /// It says something that no record says: what.
    Odd(&'static str),
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(why) => write!(f, "a record can't be read: {why}"),
            Self::Odd(what) => write!(f, "a record that is none: {what}"),
        }
    }
}

impl Record {
    /// The record's octets: a line for each thing, and an empty one. Control characters are left out of values.
    #[must_use]
    pub fn emit(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Up(up) => {
                line(&mut out, "up", &up.interface);
                line(&mut out, "device", &up.device);
                line(&mut out, "local", &up.local.to_string());
                line(&mut out, "remote", &up.remote.to_string());
                for (key, value) in [("parameter", &up.parameter), ("link", &up.link), ("peer", &up.peer)] {
                    line(&mut out, key, value);
                }
                if up.use_peer_dns {
                    line(&mut out, "use-peer-dns", "");
                }
                up.dns.iter().take(MOST_SERVERS).for_each(|a| line(&mut out, "dns", &a.to_string()));
                up.wins.iter().take(MOST_SERVERS).for_each(|a| line(&mut out, "wins", &a.to_string()));
            }
            Self::Down(Down { seconds, sent, received }) => {
                line(&mut out, "down", &format!("{seconds} {sent} {received}"));
            }
        }
        out.push(b'\n');
        out
    }
}

fn line(out: &mut Vec<u8>, key: &str, value: &str) {
    out.extend(key.as_bytes());
    out.push(b' ');
    let mut left = LONGEST_VALUE;
    for c in value.chars().filter(|c| !c.is_control()) {
        let Some(less) = left.checked_sub(c.len_utf8()) else { break };
        left = less;
        out.extend(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
    out.push(b'\n');
}

/// Reads the next record; none at the end.
///
/// # Errors
/// What is wrong with it. Nothing after it is to be believed.
pub fn next(from: &mut impl BufRead) -> Result<Option<Record>, RecordError> {
    let mut from = from.take(LONGEST_RECORD);
    let mut lines = Vec::new();
    loop {
        let mut line = Vec::new();
        from.read_until(b'\n', &mut line).map_err(RecordError::Broken)?;
        match line.as_slice() {
            [] if lines.is_empty() => return Ok(None),
            [b'\n'] => break,
            [text @ .., b'\n'] => lines.push(text_of(text)?),
            _ => return Err(RecordError::Odd("it is cut off, or too long")),
        }
    }
    read(&lines).map(Some)
}

fn text_of(octets: &[u8]) -> Result<String, RecordError> {
    let text = str::from_utf8(octets).map_err(|_| RecordError::Odd("it is no text"))?;
    match text.chars().any(char::is_control) {
        true => Err(RecordError::Odd("it has control characters")),
        false => Ok(text.to_owned()),
    }
}

fn read(lines: &[String]) -> Result<Record, RecordError> {
    let split = |line: &String| line.split_once(' ').map(|(key, value)| (key.to_owned(), value.to_owned()));
    let all: Option<Vec<(String, String)>> = lines.iter().map(split).collect();
    let all = all.ok_or(RecordError::Odd("a line without a value"))?;
    match all.split_first() {
        Some(((key, value), rest)) if key == "up" => Ok(Record::Up(Box::new(read_up(value, rest)?))),
        Some(((key, value), [])) if key == "down" => {
            let numbers: Result<Vec<u64>, _> = value.split(' ').map(str::parse).collect();
            match numbers.as_deref() {
                Ok([seconds, sent, received]) => {
                    Ok(Record::Down(Down { seconds: *seconds, sent: *sent, received: *received }))
                }
                _ => Err(RecordError::Odd("`down` has three numbers")),
            }
        }
        _ => Err(RecordError::Odd("it begins with neither `up` nor `down`")),
    }
}

fn read_up(interface: &str, rest: &[(String, String)]) -> Result<Up, RecordError> {
    if !is_interface(interface) {
        return Err(RecordError::Odd("no interface has such a name"));
    }
    let value = |wanted: &str| rest.iter().find(|(key, _)| key == wanted).map(|(_, value)| value.as_str());
    let all = |wanted: &'static str| {
        rest.iter().filter(move |(key, _)| key == wanted).take(MOST_SERVERS).map(|(_, value)| value.as_str())
    };
    let address = |key| value(key).and_then(|text| text.parse::<IpAddr>().ok());
    let (local, remote) = address("local")
        .zip(address("remote"))
        .filter(|(local, remote)| local.is_ipv4() == remote.is_ipv4())
        .ok_or(RecordError::Odd("its addresses are none"))?;
    let text = |key| value(key).unwrap_or_default().to_owned();
    Ok(Up {
        interface: interface.to_owned(),
        device: text("device"),
        local,
        remote,
        parameter: text("parameter"),
        link: text("link"),
        peer: text("peer"),
        use_peer_dns: value("use-peer-dns").is_some(),
        dns: all("dns").filter_map(|text| text.parse().ok()).collect(),
        wins: all("wins").filter_map(|text| text.parse().ok()).collect(),
    })
}

/// As the kernel's `dev_valid_name`, and no more than letters, digits and three signs.
fn is_interface(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len())
        && !matches!(name, "." | "..")
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}
