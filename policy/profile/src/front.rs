//! What stands in front of a server of SSTP: load balancers, and whoever ends TLS in its place.

use std::path::PathBuf;

use adit_core::Prefix;

use crate::profile_read::parse_network;
use crate::read::{Reader, Table, entry};
use crate::value::{NameError, quoted};

/// What a socket's path may have, its end included (`struct sockaddr_un`).
const LONGEST_PATH: usize = 107;

/// What stands in front.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Front {
    /// Whose connections begin with a header of the PROXY protocol, which says where they come from. Nobody else's do.
    pub balancers: Vec<Prefix>,
    /// Where TLS is ended by somebody else.
    pub socket: Option<FrontSocket>,
}

/// A socket of this host (AF_UNIX) on which somebody passes on what they have taken out of TLS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FrontSocket {
    /// Where it is.
    pub path: PathBuf,
    /// SHA-256 of the certificate that clients see, over its DER.
    pub sha256: Option<[u8; 32]>,
    /// SHA-1 of it, for clients that have nothing better. One of both is always there.
    pub sha1: Option<[u8; 20]>,
    /// Whether its connections begin with a header of the PROXY protocol.
    pub forwarded: bool,
}

enum Balancer {
    Network(Prefix),
    Socket,
}

enum Hash {
    Sha256([u8; 32]),
    Sha1([u8; 20]),
}

/// `proxy-protocol`, `socket`, `certificate-hash`.
pub(crate) fn front(reader: &mut Reader<'_>, table: &Table<'_>) -> Front {
    let named = reader.parse_some(table, "proxy-protocol", balancer).unwrap_or_default();
    let path = reader.parse(table, "socket", path);
    let hashes = reader.parse_some(table, "certificate-hash", hash).unwrap_or_default();
    let forwarded = named.iter().any(|one| matches!(one, Balancer::Socket));
    let has = |key| entry(table, key).is_some();
    if has("socket") && !has("certificate-hash") {
        let help = "add certificate-hash = \"…\", of the certificate that clients see:  openssl x509 -in vpn.pem -outform DER | sha256sum";
        reader.missing(table, "certificate-hash", help);
    }
    if !has("socket") {
        let help = "take the line out, or add  socket = \"/run/adit-sstp/tls.sock\"";
        reader.useless(
            table,
            "certificate-hash",
            "there is no `socket`, and of a certificate of ours it is known",
            help,
        );
    }
    if let (true, false, Some((_, span))) = (forwarded, has("socket"), entry(table, "proxy-protocol")) {
        reader.error(
            span,
            "[sstp] `proxy-protocol`: there is no `socket` for \"unix\"",
            "take it out, or add `socket`",
        );
    }
    let networks = named.into_iter().filter_map(|one| match one {
        Balancer::Network(network) => Some(network),
        Balancer::Socket => None,
    });
    let (sha256, sha1) = hashes.into_iter().fold((None, None), |(sha256, sha1), one| match one {
        Hash::Sha256(hash) => (Some(hash), sha1),
        Hash::Sha1(hash) => (sha256, Some(hash)),
    });
    let socket = path.map(|path| FrontSocket { path, sha256, sha1, forwarded });
    Front { balancers: networks.collect(), socket }
}

fn balancer(text: &str) -> Result<Balancer, NameError> {
    if text == "unix" {
        return Ok(Balancer::Socket);
    }
    let network = match text.parse() {
        Ok(address) => Prefix::host(address),
        Err(_) => parse_network(text)?,
    };
    Ok(Balancer::Network(network))
}

fn path(text: &str) -> Result<PathBuf, NameError> {
    let path = PathBuf::from(text);
    let plain = path.components().all(|part| !matches!(part, std::path::Component::ParentDir));
    match path.is_absolute() && plain && text.len() <= LONGEST_PATH && !text.ends_with('/') {
        true => Ok(path),
        false => Err(NameError::new(
            format!("{} is not where a socket can be", quoted(text)),
            "a whole path of at most 107 octets: /run/adit-sstp/tls.sock",
        )),
    }
}

/// As `openssl x509 -fingerprint` prints it, or `sha256sum`.
fn hash(text: &str) -> Result<Hash, NameError> {
    let digits: Vec<u8> = text.bytes().filter(|b| *b != b':').collect();
    let octet = |pair: &[u8]| {
        let pair = core::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?;
        u8::from_str_radix(pair, 16).ok().filter(|_| !pair.starts_with('+'))
    };
    let octets: Option<Vec<u8>> = digits.chunks(2).map(octet).collect();
    let octets = octets.unwrap_or_default();
    let sha256 = octets.as_slice().try_into().ok().map(Hash::Sha256);
    let found = sha256.or_else(|| octets.as_slice().try_into().ok().map(Hash::Sha1));
    found.ok_or_else(|| {
        let why = format!("{} is not a hash", quoted(text));
        NameError::new(why, "SHA-256 as 64 hexadecimal digits, SHA-1 as 40, with or without colons")
    })
}
