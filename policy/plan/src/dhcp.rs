//! What a tunnel's client learns by DHCPINFORM, RFC 2131 §4.4.3: it has its address already, and asks for the rest.
//! Windows takes routes in no other way.
//!
//! Routes are RFC 3442's option 121 and, the same under Windows' number, option 249 ([MS-DHCPE] §2.2.8); DNS servers are
//! option 6 and the domain is option 15 (RFC 2132 §3.8, §3.17).

use core::net::{IpAddr, Ipv4Addr};

use adit_core::{DecodeError, Prefix};

/// Where servers listen.
pub const SERVER_PORT: u16 = 67;
/// Where clients listen.
pub const CLIENT_PORT: u16 = 68;

const BOOTREQUEST: u8 = 1;
const BOOTREPLY: u8 = 2;
const MAGIC: [u8; 4] = [99, 130, 83, 99];
/// The fields before the options, RFC 2131 §2, with the cookie behind them.
const FIXED: usize = 240;
/// Relays and old servers drop what is shorter (RFC 1542 §2.1).
const SHORTEST: usize = 300;

const PAD: u8 = 0;
const DNS: u8 = 6;
const DOMAIN: u8 = 15;
const MESSAGE_TYPE: u8 = 53;
const SERVER_ID: u8 = 54;
const WANTED: u8 = 55;
const CLIENT_ID: u8 = 61;
const ROUTES: u8 = 121;
const ROUTES_OF_WINDOWS: u8 = 249;
const END: u8 = 255;

const ACK: u8 = 5;
const INFORM: u8 = 8;

/// A message, as far as DHCPINFORM has it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Message {
    op: u8,
    /// htype and hlen.
    hardware: [u8; 2],
    /// xid.
    transaction: u32,
    flags: u16,
    /// ciaddr.
    client: Ipv4Addr,
    /// chaddr.
    address: [u8; 16],
    options: Vec<(u8, Vec<u8>)>,
}

impl Message {
    fn parse(octets: &[u8]) -> Result<Self, DecodeError> {
        let short = || DecodeError::new(0, "too short for a message of DHCP");
        let fixed: &[u8; FIXED] = octets.first_chunk().ok_or_else(short)?;
        let [op, h0, h1, _, x0, x1, x2, x3, _, _, f0, f1, c0, c1, c2, c3, ..] = *fixed;
        let address = fixed.get(28..).and_then(<[u8]>::first_chunk).copied().ok_or_else(short)?;
        if !fixed.ends_with(&MAGIC) {
            return Err(DecodeError::new(FIXED - MAGIC.len(), "no message of DHCP: another cookie"));
        }
        Ok(Self {
            op,
            hardware: [h0, h1],
            transaction: u32::from_be_bytes([x0, x1, x2, x3]),
            flags: u16::from_be_bytes([f0, f1]),
            client: [c0, c1, c2, c3].into(),
            address,
            options: options(octets.get(FIXED..).unwrap_or_default())?,
        })
    }

    fn emit(&self) -> Vec<u8> {
        let mut out = vec![self.op];
        out.extend(self.hardware);
        out.push(0);
        out.extend(self.transaction.to_be_bytes());
        out.extend([0; 2]);
        out.extend(self.flags.to_be_bytes());
        out.extend(self.client.octets());
        // yiaddr, siaddr, giaddr: nobody is given an address, and no relay is between.
        out.extend([0; 12]);
        out.extend(self.address);
        // sname and file.
        out.resize(FIXED - MAGIC.len(), 0);
        out.extend(MAGIC);
        for (code, data) in &self.options {
            // What is longer than one option is several, to be read as one (RFC 3396).
            for part in data.chunks(usize::from(u8::MAX)) {
                out.push(*code);
                out.push(u8::try_from(part.len()).unwrap_or(u8::MAX));
                out.extend(part);
            }
        }
        out.push(END);
        out.resize(out.len().max(SHORTEST), PAD);
        out
    }

    fn option(&self, code: u8) -> Option<&[u8]> {
        self.options.iter().find(|(c, _)| *c == code).map(|(_, data)| data.as_slice())
    }

    fn is(&self, op: u8, kind: u8) -> bool {
        self.op == op && self.option(MESSAGE_TYPE) == Some(&[kind])
    }
}

/// Options up to the end, the parts of one put together (RFC 3396 §7).
fn options(mut rest: &[u8]) -> Result<Vec<(u8, Vec<u8>)>, DecodeError> {
    let mut out: Vec<(u8, Vec<u8>)> = Vec::new();
    while let Some((code, more)) = rest.split_first() {
        match *code {
            END => break,
            PAD => rest = more,
            code => {
                let cut = DecodeError::new(FIXED, "an option is longer than the message");
                let (length, more) = more.split_first().ok_or(cut)?;
                let cut = DecodeError::new(FIXED, "an option is longer than the message");
                let (data, more) = more.split_at_checked(usize::from(*length)).ok_or(cut)?;
                match out.iter_mut().find(|(c, _)| *c == code) {
                    Some((_, whole)) => whole.extend(data),
                    None => out.push((code, data.to_vec())),
                }
                rest = more;
            }
        }
    }
    Ok(out)
}

/// What a server has to tell the clients of its tunnels.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Offer {
    /// The server's own address; the routes lead there.
    pub server: Ipv4Addr,
    /// What is behind the server. Empty: nothing is said of routes.
    pub routes: Vec<Prefix>,
    /// DNS servers.
    pub dns: Vec<Ipv4Addr>,
    /// The domain of the clients.
    pub domain: Option<String>,
}

/// The DHCPACK for a DHCPINFORM that came from `from`, the address that the client has in the tunnel; it goes there, to port
/// 68. It holds what the client asks for (option 55), or everything. `None`: it is something else, or another's.
#[must_use]
pub fn answer(request: &[u8], from: Ipv4Addr, offer: &Offer) -> Option<Vec<u8>> {
    let request = Message::parse(request).ok().filter(|m| m.is(BOOTREQUEST, INFORM))?;
    if !request.client.is_unspecified() && request.client != from {
        return None;
    }
    let wants = |code: u8| request.option(WANTED).is_none_or(|codes| codes.contains(&code));
    let mut options = vec![(MESSAGE_TYPE, vec![ACK]), (SERVER_ID, offer.server.octets().to_vec())];
    let routes = encoded(&offer.routes, offer.server);
    let has = [
        (DNS, offer.dns.iter().flat_map(Ipv4Addr::octets).collect()),
        (DOMAIN, offer.domain.iter().flat_map(|d| d.bytes()).collect()),
        (ROUTES, routes.clone()),
        (ROUTES_OF_WINDOWS, routes),
    ];
    options.extend(has.into_iter().filter(|(code, data): &(u8, Vec<u8>)| !data.is_empty() && wants(*code)));
    Some(Message { op: BOOTREPLY, client: from, options, ..request }.emit())
}

/// RFC 3442: a prefix's length, as many octets of it as count, the router.
fn encoded(routes: &[Prefix], router: Ipv4Addr) -> Vec<u8> {
    let one = |prefix: &Prefix| match prefix.address {
        IpAddr::V4(address) => {
            let count = usize::from(prefix.length.div_ceil(8));
            let octets = address.octets().into_iter().take(count);
            core::iter::once(prefix.length).chain(octets).chain(router.octets()).collect()
        }
        IpAddr::V6(_) => Vec::new(),
    };
    routes.iter().flat_map(one).collect()
}

/// A DHCPINFORM of the client that has `address` in the tunnel. `transaction` is random: the answer repeats it.
#[must_use]
pub fn inform(transaction: u32, address: Ipv4Addr) -> Vec<u8> {
    // A tunnel has no hardware address, and servers want one: a local one, out of the address.
    let [a, b, c, d] = address.octets();
    let mut hardware = [0; 16];
    hardware[..6].copy_from_slice(&[2, 0, a, b, c, d]);
    let options = vec![
        (MESSAGE_TYPE, vec![INFORM]),
        (CLIENT_ID, vec![0, a, b, c, d]),
        (WANTED, vec![DNS, DOMAIN, ROUTES, ROUTES_OF_WINDOWS]),
    ];
    let ethernet = [1, 6];
    Message {
        op: BOOTREQUEST,
        hardware: ethernet,
        transaction,
        flags: 0,
        client: address,
        address: hardware,
        options,
    }
    .emit()
}

/// What a client has learned.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Learned {
    /// Networks behind the server: option 121, and 249 where that is missing.
    pub routes: Vec<Prefix>,
    /// DNS servers.
    pub dns: Vec<Ipv4Addr>,
    /// Our domain there.
    pub domain: Option<String>,
}

/// The answer to [`inform`]. `None`: it is another's, or no answer.
///
/// # Errors
/// It is one, but not as it should be.
pub fn learned(octets: &[u8], transaction: u32) -> Result<Option<Learned>, DecodeError> {
    let message = Message::parse(octets)?;
    if message.transaction != transaction || !message.is(BOOTREPLY, ACK) {
        return Ok(None);
    }
    let routes = message.option(ROUTES).or_else(|| message.option(ROUTES_OF_WINDOWS));
    let dns = message.option(DNS).unwrap_or_default();
    let domain = message.option(DOMAIN).unwrap_or_default();
    let domain = core::str::from_utf8(domain).ok().map(|d| d.trim_end_matches('\0'));
    Ok(Some(Learned {
        routes: decoded(routes.unwrap_or_default())?,
        dns: dns.as_chunks::<4>().0.iter().map(|a| Ipv4Addr::from(*a)).collect(),
        domain: domain.filter(|d| is_domain(d)).map(str::to_owned),
    }))
}

fn decoded(mut rest: &[u8]) -> Result<Vec<Prefix>, DecodeError> {
    let wrong = |why| DecodeError::new(FIXED, why);
    let mut out = Vec::new();
    while let Some((length, more)) = rest.split_first() {
        let count = usize::from(length.div_ceil(8));
        let cut = || wrong("a route is cut off");
        let (octets, more) = more.split_at_checked(count).ok_or_else(cut)?;
        let mut address = [0; 4];
        address
            .get_mut(..count)
            .ok_or_else(|| wrong("a route is longer than an address"))?
            .copy_from_slice(octets);
        let mask = u32::MAX.checked_shl(32_u32.saturating_sub(u32::from(*length))).unwrap_or(0);
        let address = IpAddr::from((u32::from_be_bytes(address) & mask).to_be_bytes());
        out.push(Prefix { address, length: *length });
        rest = more.split_first_chunk::<4>().ok_or_else(cut)?.1;
    }
    Ok(out)
}

/// Whether it is a name that a resolver can be told.
fn is_domain(name: &str) -> bool {
    let label = |l: &str| {
        (1..=63).contains(&l.len()) && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    name.len() <= 253 && name.strip_suffix('.').unwrap_or(name).split('.').all(label)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 7);

    fn offer() -> Offer {
        Offer {
            server: [10, 1, 0, 1].into(),
            routes: ["10.1.0.0/16", "192.168.5.0/25", "172.16.0.0/12", "10.0.0.1/32"]
                .map(|p| p.parse().unwrap())
                .into(),
            dns: vec![[10, 1, 0, 53].into(), [10, 1, 0, 54].into()],
            domain: Some("corp.example".into()),
        }
    }

    fn asked(wanted: Option<&[u8]>) -> Vec<u8> {
        let mut message = Message::parse(&inform(0xABAD_1DEA, CLIENT)).unwrap();
        message.options.retain(|(code, _)| *code != WANTED);
        message.options.extend(wanted.map(|codes| (WANTED, codes.to_vec())));
        message.emit()
    }

    fn codes(answer: &[u8]) -> Vec<u8> {
        Message::parse(answer).unwrap().options.iter().map(|(code, _)| *code).collect()
    }

    #[test]
    fn a_client_learns_what_the_server_offers() {
        let reply = answer(&inform(7, CLIENT), CLIENT, &offer()).unwrap();
        let known = learned(&reply, 7).unwrap().unwrap();
        assert_eq!((known.routes, known.dns, known.domain), (offer().routes, offer().dns, offer().domain));
        assert_eq!(learned(&reply, 8).unwrap(), None);
        assert_eq!(learned(&inform(7, CLIENT), 7).unwrap(), None);
    }

    /// RFC 3442's table of how destinations are written, and where the router stands.
    #[test]
    fn routes_are_as_short_as_they_can_be() {
        let routes = |text: &str| encoded(&[text.parse().unwrap()], [10, 1, 0, 1].into());
        assert_eq!(routes("0.0.0.0/0"), [0, 10, 1, 0, 1]);
        assert_eq!(routes("10.0.0.0/8"), [8, 10, 10, 1, 0, 1]);
        assert_eq!(routes("10.17.0.0/16"), [16, 10, 17, 10, 1, 0, 1]);
        assert_eq!(routes("10.27.129.0/24"), [24, 10, 27, 129, 10, 1, 0, 1]);
        assert_eq!(routes("10.229.0.128/25"), [25, 10, 229, 0, 128, 10, 1, 0, 1]);
        assert_eq!(routes("10.198.122.47/32"), [32, 10, 198, 122, 47, 10, 1, 0, 1]);
        // Bits beyond the length are nobody's.
        assert_eq!(decoded(&[9, 10, 255, 0, 0, 0, 0]).unwrap(), ["10.128.0.0/9".parse().unwrap()]);
    }

    #[test]
    fn a_client_gets_what_it_asks_for() {
        let of = |wanted| codes(&answer(&asked(wanted), CLIENT, &offer()).unwrap());
        assert_eq!(of(Some(&[ROUTES_OF_WINDOWS, 43])), [MESSAGE_TYPE, SERVER_ID, ROUTES_OF_WINDOWS]);
        assert_eq!(of(None), [MESSAGE_TYPE, SERVER_ID, DNS, DOMAIN, ROUTES, ROUTES_OF_WINDOWS]);
        let silent = Offer { routes: vec![], dns: vec![], domain: None, ..offer() };
        assert_eq!(codes(&answer(&asked(None), CLIENT, &silent).unwrap()), [MESSAGE_TYPE, SERVER_ID]);
    }

    #[test]
    fn nobody_asks_for_another() {
        let other = Ipv4Addr::new(10, 9, 0, 8);
        assert_eq!(answer(&inform(7, CLIENT), other, &offer()), None);
        let unspecified = inform(7, Ipv4Addr::UNSPECIFIED);
        let reply = Message::parse(&answer(&unspecified, other, &offer()).unwrap()).unwrap();
        assert_eq!((reply.client, reply.op), (other, BOOTREPLY));
    }

    #[test]
    fn what_is_no_inform_gets_no_answer() {
        let mut message = Message::parse(&inform(7, CLIENT)).unwrap();
        for kind in [1, 3, 4, 7] {
            message.options[0] = (MESSAGE_TYPE, vec![kind]);
            assert_eq!(answer(&message.emit(), CLIENT, &offer()), None);
        }
    }

    #[test]
    fn a_route_that_is_none_is_refused() {
        for wrong in [&[33, 1, 1, 1, 1, 1, 10, 0, 0, 1][..], &[24, 10, 1], &[8, 10, 10, 0, 0]] {
            assert!(decoded(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_domain_is_a_name() {
        for (name, is) in
            [("corp.example", true), ("corp.example.", true), ("a b", false), ("", false), ("a..b", false)]
        {
            assert_eq!(is_domain(name), is, "{name}");
        }
    }

    proptest! {
        #[test]
        fn options_of_any_length_survive(
            lengths in proptest::collection::vec(1_usize..700, 0..4),
            client: [u8; 4],
            transaction: u32,
        ) {
            let options: Vec<_> = lengths.iter().zip(100..).map(|(n, code)| (code, vec![code; *n])).collect();
            let message = Message {
                op: BOOTREPLY, hardware: [1, 6], transaction, flags: 1, client: client.into(), address: [9; 16], options,
            };
            prop_assert_eq!(Message::parse(&message.emit()), Ok(message));
        }

        #[test]
        fn nothing_panics(octets in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut whole = inform(1, CLIENT);
            whole.truncate(FIXED);
            whole.extend(&octets);
            let _ = (answer(&whole, CLIENT, &offer()), learned(&whole, 1), learned(&octets, 1));
        }
    }
}
