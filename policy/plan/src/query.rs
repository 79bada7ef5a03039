//! One question to a DNS server about a gateway's name, RFC 1035 §4, and its answer: what a host asks by itself where a block
//! stands, since its resolver's own questions can't be told from anybody else's.

use core::net::IpAddr;

use adit_core::DecodeError;

use crate::services::Service;

/// Where servers listen.
pub const PORT: u16 = 53;
/// What a server sends at most to one who has not said that more may come (RFC 1035 §4.2.1), in octets.
pub const LONGEST_ANSWER: usize = 512;

const HEADER: usize = 12;
const CLASS_IN: u16 = 1;
const TYPE_A: u16 = 1;
const TYPE_CNAME: u16 = 5;
const TYPE_AAAA: u16 = 28;
const TYPE_SRV: u16 = 33;
/// QR.
const RESPONSE: u16 = 0x8000;
/// RD.
const RECURSION_DESIRED: u16 = 0x0100;
/// Opcode, of which 0 is a query, and RCODE.
const OPCODE: u16 = 0x7800;
const RCODE: u16 = 0x000f;
const NAME_ERROR: u16 = 3;
/// As many names may lead to another one.
const MOST_ALIASES: usize = 16;
/// As many pointers may a name have (RFC 1035 §4.1.4): it has no more labels.
const MOST_POINTERS: usize = 128;

/// Which records of the name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Records {
    /// A: addresses of IPv4.
    V4,
    /// AAAA: addresses of IPv6 (RFC 3596).
    V6,
    /// SRV: servers (RFC 2782).
    Services,
}

/// A question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Query {
    /// What the answer has to have, too. Unpredictable, or anybody could answer (RFC 5452 §4.3).
    pub id: u16,
    /// The name, in small letters, without a dot at its end.
    pub name: String,
    /// What is asked for.
    pub records: Records,
}

/// What a server says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// These addresses, in its order. None: the name has none of that family, or there is no such name.
    Addresses(Vec<IpAddr>),
    /// These servers, likewise.
    Services(Vec<Service>),
    /// It can't say: its RCODE.
    Failed(u16),
}

impl Query {
    /// The question's octets. `None`: no DNS server knows such a name (RFC 1035 §2.3.4).
    #[must_use]
    pub fn emit(&self) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(HEADER + self.name.len() + 6);
        for number in [self.id, RECURSION_DESIRED, 1, 0, 0, 0] {
            out.extend(number.to_be_bytes());
        }
        out.extend(self.question()?);
        Some(out)
    }

    fn question(&self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        for label in self.name.split('.') {
            let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
            out.push(length);
            out.extend(label.as_bytes());
        }
        out.push(0);
        if out.len() > 255 {
            return None;
        }
        out.extend(self.records.record().to_be_bytes());
        out.extend(CLASS_IN.to_be_bytes());
        Some(out)
    }

    /// Reads what came as an answer to this question.
    ///
    /// # Errors
    /// It is none: whoever waits goes on waiting.
    pub fn answer(&self, octets: &[u8]) -> Result<Answer, DecodeError> {
        let flags = number(octets, 2)?;
        if number(octets, 0)? != self.id || flags & (RESPONSE | OPCODE) != RESPONSE {
            return Err(DecodeError::new(0, "no answer to that question: another number"));
        }
        let mut at = HEADER;
        if number(octets, 4)? != 1 || name(octets, &mut at)? != self.name {
            return Err(DecodeError::new(HEADER, "no answer to that question: another name"));
        }
        if number(octets, at)? != self.records.record() || number(octets, at + 2)? != CLASS_IN {
            return Err(DecodeError::new(at, "no answer to that question: another type"));
        }
        at += 4;
        match flags & RCODE {
            0 | NAME_ERROR => {}
            code => return Ok(Answer::Failed(code)),
        }
        let mut records = Vec::new();
        for _ in 0..number(octets, 6)? {
            match record(octets, &mut at) {
                Ok(record) => records.push(record),
                // Cut off by TC, or wrong: what stands before is good.
                Err(why) if records.is_empty() => return Err(why),
                Err(_) => break,
            }
        }
        let own = self.own(records);
        Ok(match self.records {
            Records::V4 | Records::V6 => Answer::Addresses(addresses(own)),
            Records::Services => Answer::Services(services(own)),
        })
    }

    /// Those of the name, or of the name that it is another word for (RFC 1034 §3.6.2).
    fn own(&self, records: Vec<Record>) -> impl Iterator<Item = Data> {
        let mut wanted = self.name.clone();
        for _ in 0..MOST_ALIASES {
            let alias = records.iter().find_map(|record| match &record.data {
                Data::Alias(name) if record.name == wanted => Some(name.clone()),
                _ => None,
            });
            match alias {
                Some(name) => wanted = name,
                None => break,
            }
        }
        records.into_iter().filter(move |record| record.name == wanted).map(|record| record.data)
    }
}

fn addresses(data: impl Iterator<Item = Data>) -> Vec<IpAddr> {
    let mut out = Vec::new();
    for data in data {
        match data {
            Data::Address(address) if !out.contains(&address) => out.push(address),
            _ => {}
        }
    }
    out
}

fn services(data: impl Iterator<Item = Data>) -> Vec<Service> {
    let service = |data| match data {
        Data::Service(service) => Some(service),
        _ => None,
    };
    data.filter_map(service).collect()
}

impl Records {
    const fn record(self) -> u16 {
        match self {
            Self::V4 => TYPE_A,
            Self::V6 => TYPE_AAAA,
            Self::Services => TYPE_SRV,
        }
    }
}

struct Record {
    name: String,
    data: Data,
}

enum Data {
    Address(IpAddr),
    Alias(String),
    Service(Service),
    Other,
}

/// RFC 1035 §3.2.1. Afterwards `at` is behind it.
fn record(octets: &[u8], at: &mut usize) -> Result<Record, DecodeError> {
    let owner = name(octets, at)?;
    let (kind, class) = (number(octets, *at)?, number(octets, *at + 2)?);
    let length = usize::from(number(octets, *at + 8)?);
    let begin = *at + 10;
    let cut = DecodeError::new(begin, "a record is longer than the message");
    let data = octets.get(begin..begin + length).ok_or(cut)?;
    *at = begin + length;
    let address = |address: Option<IpAddr>| {
        address.map(Data::Address).ok_or(DecodeError::new(begin, "an address of another length"))
    };
    let data = match (class, kind) {
        (CLASS_IN, TYPE_A) => address(<[u8; 4]>::try_from(data).ok().map(IpAddr::from))?,
        (CLASS_IN, TYPE_AAAA) => address(<[u8; 16]>::try_from(data).ok().map(IpAddr::from))?,
        (CLASS_IN, TYPE_CNAME) => {
            let mut inside = begin;
            Data::Alias(name(octets, &mut inside)?)
        }
        (CLASS_IN, TYPE_SRV) => Data::Service(service(octets, begin, length)?),
        _ => Data::Other,
    };
    Ok(Record { name: owner, data })
}

/// What an SRV record says (RFC 2782).
fn service(octets: &[u8], begin: usize, length: usize) -> Result<Service, DecodeError> {
    const FIXED: usize = 6;
    if length <= FIXED {
        return Err(DecodeError::new(begin, "an SRV record is cut off"));
    }
    let mut inside = begin + FIXED;
    Ok(Service {
        priority: number(octets, begin)?,
        weight: number(octets, begin + 2)?,
        port: number(octets, begin + 4)?,
        target: name(octets, &mut inside)?,
    })
}

/// A name, in small letters, its pointers followed (RFC 1035 §4.1.4). Afterwards `at` is behind it.
fn name(octets: &[u8], at: &mut usize) -> Result<String, DecodeError> {
    let short = |at| DecodeError::new(at, "a name is cut off");
    let (mut out, mut from, mut pointers) = (String::new(), *at, 0);
    loop {
        let length = usize::from(*octets.get(from).ok_or(short(from))?);
        let next = match length {
            0 => from + 1,
            1..=63 => {
                let label = octets.get(from + 1..=from + length).ok_or(short(from))?;
                if !out.is_empty() {
                    out.push('.');
                }
                // What is no ASCII is no gateway's name, and so equal to none.
                out.extend(label.iter().map(|octet| char::from(octet.to_ascii_lowercase())));
                from + 1 + length
            }
            192.. => from + 2,
            _ => return Err(DecodeError::new(from, "a label of a kind that nobody uses")),
        };
        if pointers == 0 {
            *at = next;
        }
        match length {
            0 => return Ok(out),
            192.. => {
                pointers += 1;
                let target = usize::from(number(octets, from)? & 0x3fff);
                if pointers > MOST_POINTERS || target >= from {
                    return Err(DecodeError::new(from, "a name points at itself, or ahead"));
                }
                from = target;
            }
            _ => from = next,
        }
        if out.len() > 255 {
            return Err(DecodeError::new(from, "a name is too long"));
        }
    }
}

fn number(octets: &[u8], at: usize) -> Result<u16, DecodeError> {
    let two = octets.get(at..).and_then(<[u8]>::first_chunk);
    two.map(|two| u16::from_be_bytes(*two)).ok_or(DecodeError::new(at, "the message is cut off"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn query(records: Records) -> Query {
        Query { id: 0x1234, name: "vpn.example.com".into(), records }
    }

    /// The question with an answer's header, so many records of it, and the records.
    fn message(query: &Query, flags: u16, count: u16, records: &[u8]) -> Vec<u8> {
        let mut out = query.emit().unwrap();
        out[2..4].copy_from_slice(&flags.to_be_bytes());
        out[6..8].copy_from_slice(&count.to_be_bytes());
        out.extend(records);
        out
    }

    /// A record of the name of the question, or of another one.
    fn record(owner: &[u8], kind: u16, data: &[u8]) -> Vec<u8> {
        let mut out = owner.to_vec();
        for number in [kind, CLASS_IN, 0, 60, u16::try_from(data.len()).unwrap()] {
            out.extend(number.to_be_bytes());
        }
        out.extend(data);
        out
    }

    const SAME: &[u8] = &[0xc0, 12];

    #[test]
    fn a_question_is_as_rfc_1035_has_it() {
        let octets = query(Records::V6).emit().unwrap();
        assert_eq!(octets[..12], [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(&octets[12..], b"\x03vpn\x07example\x03com\0\0\x1c\0\x01");
        for none in ["", "a..b", &"a".repeat(64), &["abcdefgh"; 29].join(".")] {
            assert_eq!(Query { name: none.into(), ..query(Records::V4) }.emit(), None, "{none}");
        }
    }

    #[test]
    fn addresses_come_in_the_servers_order_and_once() {
        let query = query(Records::V4);
        let all = [[192, 0, 2, 7], [192, 0, 2, 1], [192, 0, 2, 7]].map(|a| record(SAME, TYPE_A, &a)).concat();
        let found = query.answer(&message(&query, 0x8180, 3, &all)).unwrap();
        assert_eq!(found, Answer::Addresses(vec![[192, 0, 2, 7].into(), [192, 0, 2, 1].into()]));
    }

    #[test]
    fn an_alias_is_followed_and_what_it_does_not_lead_to_is_not_taken() {
        let query = query(Records::V4);
        // gw, and then the question's "example.com".
        let alias = record(SAME, TYPE_CNAME, b"\x02gw\xc0\x10");
        let gateway = record(b"\x02GW\x07example\x03com\0", TYPE_A, &[192, 0, 2, 9]);
        let other = record(b"\x05other\x07example\x03com\0", TYPE_A, &[192, 0, 2, 66]);
        let octets = message(&query, 0x8180, 3, &[other, gateway, alias].concat());
        assert_eq!(query.answer(&octets).unwrap(), Answer::Addresses(vec![[192, 0, 2, 9].into()]));
        let turns = record(SAME, TYPE_CNAME, SAME);
        assert_eq!(query.answer(&message(&query, 0x8180, 1, &turns)).unwrap(), Answer::Addresses(vec![]));
    }

    #[test]
    fn servers_are_read_as_rfc_2782_has_them() {
        let query = Query { name: "_isakmp._udp.example.com".into(), ..query(Records::Services) };
        let target = b"\0\x0a\0\x05\x01\xf4\x03GW1\x07example\x03com\0";
        let none = b"\0\0\0\0\0\0\0";
        let cut = record(SAME, TYPE_SRV, b"\0\0\0\0\0\0");
        let all = [record(SAME, TYPE_SRV, target), record(SAME, TYPE_SRV, none), cut].concat();
        let Answer::Services(found) = query.answer(&message(&query, 0x8180, 3, &all)).unwrap() else {
            panic!("no servers")
        };
        let gateway = Service { priority: 10, weight: 5, port: 500, target: "gw1.example.com".into() };
        let nobody = Service { priority: 0, weight: 0, port: 0, target: String::new() };
        assert_eq!(found, [gateway, nobody]);
        let missing = query.answer(&message(&query, 0x8183, 0, &[])).unwrap();
        assert_eq!(missing, Answer::Services(Vec::new()));
    }

    #[test]
    fn whoever_answers_something_else_is_not_believed() {
        let asked = query(Records::V4);
        let good = message(&asked, 0x8180, 1, &record(SAME, TYPE_A, &[192, 0, 2, 1]));
        for other in [
            Query { id: 0x1235, ..asked.clone() },
            Query { name: "vpn.example.org".into(), ..asked.clone() },
            query(Records::V6),
        ] {
            other.answer(&good).unwrap_err();
        }
        asked.answer(&asked.emit().unwrap()).unwrap_err();
    }

    #[test]
    fn what_a_server_cannot_say_is_no_absence_of_the_name() {
        let query = query(Records::V4);
        assert_eq!(query.answer(&message(&query, 0x8183, 0, &[])).unwrap(), Answer::Addresses(Vec::new()));
        assert_eq!(query.answer(&message(&query, 0x8182, 0, &[])).unwrap(), Answer::Failed(2));
        assert_eq!(query.answer(&message(&query, 0x8185, 0, &[])).unwrap(), Answer::Failed(5));
    }

    proptest! {
        #[test]
        fn nothing_that_comes_does_harm(octets in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = query(Records::V4).answer(&octets);
            let _ = query(Records::Services).answer(&octets);
        }

        #[test]
        fn nor_what_begins_well(count in any::<u16>(), rest in proptest::collection::vec(any::<u8>(), 0..200)) {
            let query = query(if count.is_multiple_of(2) { Records::V6 } else { Records::Services });
            let _ = query.answer(&message(&query, 0x8180, count, &rest));
        }

        #[test]
        fn a_question_is_read_back(id in any::<u16>(), name in "[a-z0-9_-]{1,20}(\\.[a-z0-9-]{1,20}){0,4}") {
            let query = Query { id, name: name.clone(), records: Records::V4 };
            let octets = query.emit().unwrap();
            let mut at = HEADER;
            prop_assert_eq!(super::name(&octets, &mut at).unwrap(), name);
            prop_assert_eq!(at + 4, octets.len());
        }
    }
}
